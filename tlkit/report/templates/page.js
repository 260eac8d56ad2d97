"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const number = new Intl.NumberFormat("en-US");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  // Text goes in as text nodes only, never as markup.
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  }

  // ---- Theme -------------------------------------------------------------------------------

  const THEMES = ["system", "light", "dark"];
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  let theme = "system";
  try {
    // Not allowed everywhere, such as in pages shown inside others.
    theme = localStorage.getItem("tlkit-theme") || "system";
  } catch {}

  function applyTheme() {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    byId("theme").textContent = `Theme: ${theme}`;
    drawCharts();
  }

  function setUpTheme() {
    if (!THEMES.includes(theme)) theme = "system";
    byId("theme").hidden = false;
    byId("theme").addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      try {
        localStorage.setItem("tlkit-theme", theme);
      } catch {}
      applyTheme();
    });
    prefersDark.addEventListener("change", applyTheme);
    applyTheme();
  }

  // ---- Charts ------------------------------------------------------------------------------

  function colour(name) {
    const probe = element("span", { style: `color: var(--${name})`, hidden: true });
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  }

  function chartConfig() {
    const [text, muted, border, train, validation] =
      ["text", "muted", "border", "train", "validation"].map(colour);
    const font = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
    return {
      aria: false,
      background: "transparent",
      font,
      padding: { left: 0, right: 4, top: 4, bottom: 8 },
      view: { stroke: null },
      axis: {
        labelColor: muted, titleColor: muted, domainColor: border, tickColor: border,
        gridColor: border, gridOpacity: 0.7, labelFontSize: 12, titleFontSize: 12,
        titleFontWeight: "normal", labelLimit: 150,
      },
      axisY: { minExtent: 28 },
      legend: { labelColor: text, labelFontSize: 12, symbolStrokeWidth: 2.5 },
      range: { category: [train, validation, ...["third", "fourth", "fifth", "muted", "text"].map(colour)] },
      line: { strokeWidth: 2.5 },
      point: { size: 36, filled: true },
      bar: { color: train },
      style: {
        phase: { color: muted, strokeDash: [5, 4], strokeWidth: 1.5 },
        "phase-name": { color: muted, align: "left", dx: 4, fontSize: 12 },
        kept: { color: text, strokeDash: [1, 3], strokeWidth: 2 },
        "axis-line": { color: border, strokeWidth: 1.5 },
        "axis-value": { color: text, align: "left", dx: 5, fontSize: 11 },
        "bar-value": { color: text, align: "left", dx: 4, fontSize: 12 },
        diagonal: { color: muted, stroke: muted, strokeDash: [5, 4], strokeWidth: 1.5 },
      },
    };
  }

  const drawn = {};
  let generation = 0;

  async function drawCharts() {
    const mine = ++generation;
    const dark = theme === "dark" || (theme === "system" && prefersDark.matches);
    for (const [id, spec] of Object.entries(data.charts)) {
      const place = byId(id);
      const shown = {
        ...spec, width: "container", autosize: { type: "fit-x", contains: "padding" },
      };
      try {
        const result = await vegaEmbed(place, shown, {
          actions: false,
          // Expressions are interpreted: the page forbids to compile text into code.
          ast: true,
          config: chartConfig(),
          mode: "vega-lite",
          renderer: "svg",
          tooltip: { theme: dark ? "dark" : "light" },
        });
        if (mine !== generation) return;
        if (drawn[id]) drawn[id].finalize();
        drawn[id] = result;
        for (const part of place.children) part.setAttribute("aria-hidden", "true");
      } catch (error) {
        place.textContent = `This chart could not be drawn: ${error.message}`;
      }
    }
    root.dataset.charts = "drawn";
  }

  // ---- Tables that sort --------------------------------------------------------------------

  const collator = new Intl.Collator(undefined, { numeric: true });

  function sortValue(row, column) {
    const cell = row.cells[column];
    const value = cell.dataset.value ?? cell.textContent.replaceAll(",", "").trim();
    return value !== "" && !Number.isNaN(Number(value)) ? Number(value) : value;
  }

  function compare(first, second) {
    if (typeof first === "number" && typeof second === "number") return first - second;
    return collator.compare(String(first), String(second));
  }

  function setUpSorting(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = element("button", { type: "button" }, ...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const figures = head.classList.contains("number");
        const before = head.getAttribute("aria-sort");
        const first = figures ? "descending" : "ascending";
        const other = figures ? "ascending" : "descending";
        const order = before === first ? other : first;
        heads.forEach((item) => item.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const rows = [...table.tBodies[0].rows].map((row) => [sortValue(row, column), row]);
        rows.sort((one, two) => sign * compare(one[0], two[0]));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  // A region that does not scroll needs no place in the order of the Tab key.
  function setUpScrolling() {
    const focusable = ".scrolled[role=region], pre, .panel";
    const showMore = (target) => {
      const before = Math.abs(target.scrollLeft);
      target.classList.toggle("more-before", before > 1);
      target.classList.toggle("more-after", before + target.clientWidth < target.scrollWidth - 1);
    };
    const observer = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const region = target.matches(".scrolls") ? target : target.parentElement;
        showMore(region);
        if (!region.matches(focusable)) continue;
        const scrolls = region.scrollWidth > region.clientWidth + 1 || region.scrollHeight > region.clientHeight + 1;
        if (scrolls) region.tabIndex = 0;
        else region.removeAttribute("tabindex");
      }
    });
    document.querySelectorAll(`${focusable}, .scrolled, nav ul`).forEach((region) => {
      region.classList.add("scrolls");
      region.addEventListener("scroll", () => showMore(region), { passive: true });
      observer.observe(region);
      // What is inside may grow, such as the matrix, which is drawn later.
      if (region.matches(".scrolled")) observer.observe(region.firstElementChild);
    });
  }

  // ---- Images ------------------------------------------------------------------------------

  function imageSide(image) {
    return Math.max(image.width, image.height);
  }

  function describe(image) {
    const name = image.name ? ` ${image.name}` : "";
    return `Test image ${image.index}${name}: true class ${data.classes[image.true]}, ` +
      `predicted ${data.classes[image.predicted]}, ${percent(image.top[0][1])}`;
  }

  function thumbnail(image, list, lines) {
    const picture = element("img", {
      src: image.source, alt: describe(image), decoding: "async",
      class: imageSide(image) <= 64 && "small",
    });
    const captions = lines.map((line) => element("span", { "aria-hidden": "true" }, line));
    const button = element("button", { type: "button", class: "thumb" }, picture, ...captions);
    button.addEventListener("click", () => openViewer(list, list.indexOf(image)));
    return button;
  }

  function setUpGallery(id) {
    const place = byId(id);
    if (!place) return;
    place.classList.add("gallery");
    const list = data[id].map((index) => data.images[index]);
    place.append(...list.map((image) => thumbnail(image, list, [
      data.classes[image.predicted],
      `${percent(image.top[0][1])} sure`,
      image.true === image.predicted ? "right" : `true: ${data.classes[image.true]}`,
    ])));
  }

  const viewer = { list: [], place: 0 };

  function showImage() {
    const image = viewer.list[viewer.place];
    const right = image.true === image.predicted;
    byId("viewer-image").src = image.source;
    byId("viewer-image").alt = describe(image);
    byId("viewer-image").className = imageSide(image) <= 64 ? "small" : "";
    byId("viewer-title").textContent = `Test image ${image.index}`;
    byId("viewer-text").replaceChildren(
      ...(image.name ? [element("bdi", {}, image.name), element("br")] : []),
      "True class: ", element("bdi", {}, data.classes[image.true]),
      right ? "; the answer is right." : "; the answer is wrong.",
      element("br"),
      `${image.width} × ${image.height} pixels; ${viewer.place + 1} of ${viewer.list.length} shown`,
    );
    byId("viewer-answers").replaceChildren(...image.top.map(([label, probability]) => element(
      "tr", { class: label === image.true && "yes" },
      element("th", { scope: "row" }, element("bdi", {}, data.classes[label]),
        label === image.true ? " (true)" : ""),
      element("td", { class: "number bar wide", style: `--share: ${probability}` }, percent(probability)),
    )));
    byId("viewer-previous").disabled = viewer.place === 0;
    byId("viewer-next").disabled = viewer.place === viewer.list.length - 1;
  }

  function openViewer(list, place) {
    viewer.list = list;
    viewer.place = place;
    showImage();
    byId("viewer").showModal();
  }

  function step(by) {
    const place = viewer.place + by;
    if (place < 0 || place >= viewer.list.length) return;
    viewer.place = place;
    showImage();
  }

  function setUpViewer() {
    const dialog = byId("viewer");
    byId("viewer-close").addEventListener("click", () => dialog.close());
    byId("viewer-previous").addEventListener("click", () => step(-1));
    byId("viewer-next").addEventListener("click", () => step(1));
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
  }

  // ---- Confusion matrix --------------------------------------------------------------------

  // Of more classes a part is shown: some classes, and all others as one row and one column.
  const MAX_CLASSES = 20;
  const PART = 12;
  const cells = new Map();
  const matrix = { groups: [], counts: [], unit: "counts", row: 0, column: 0 };

  function readMatrix() {
    for (let place = 0; place < data.matrix.length; place += 3) {
      const [label, predicted, count] = data.matrix.slice(place, place + 3);
      cells.set(label * data.classes.length + predicted, count);
    }
  }

  function eachCell(visit) {
    for (const [key, count] of cells) {
      visit(Math.floor(key / data.classes.length), key % data.classes.length, count);
    }
  }

  // The classes of the most frequent confusions: all of them, or those of one class.
  function partOfClasses(focus) {
    const pairs = [];
    eachCell((label, predicted, count) => {
      const wanted = focus < 0 || label === focus || predicted === focus;
      if (label !== predicted && wanted) pairs.push([count, label, predicted]);
    });
    pairs.sort((one, two) => two[0] - one[0] || one[1] - two[1] || one[2] - two[2]);
    const chosen = new Set(focus < 0 ? [] : [focus]);
    for (const [, label, predicted] of pairs) {
      for (const item of [label, predicted]) if (chosen.size < PART) chosen.add(item);
    }
    // A run without mistakes has classes too.
    for (let label = 0; chosen.size < PART; label += 1) chosen.add(label);
    return [...chosen].sort((one, two) => one - two);
  }

  function groupClasses(focus) {
    const all = data.classes.map((_, label) => label);
    const chosen = data.classes.length <= MAX_CLASSES ? all : partOfClasses(focus);
    const groups = chosen.map((label) => ({ name: data.classes[label], labels: new Set([label]) }));
    if (chosen.length < all.length) {
      const rest = all.filter((label) => !chosen.includes(label));
      groups.push({ name: `${number.format(rest.length)} others`, labels: new Set(rest), rest: true });
    }
    const place = new Map();
    groups.forEach((group, index) => group.labels.forEach((label) => place.set(label, index)));
    const counts = groups.map(() => groups.map(() => 0));
    const right = groups.map(() => 0);
    eachCell((label, predicted, count) => {
      counts[place.get(label)][place.get(predicted)] += count;
      if (label === predicted) right[place.get(label)] += count;
    });
    const sum = (totals, group) => [...group.labels].reduce((done, label) => done + totals[label], 0);
    groups.forEach((group, index) => {
      group.asTrue = sum(data.trueTotals, group);
      group.asPredicted = sum(data.predictedTotals, group);
      group.right = right[index];
    });
    Object.assign(matrix, { groups, counts });
  }

  function cellShare(row, column) {
    const count = matrix.counts[row][column];
    const total = matrix.unit === "predicted" ? matrix.groups[column].asPredicted : matrix.groups[row].asTrue;
    return total ? count / total : 0;
  }

  function cellText(row, column) {
    const count = matrix.counts[row][column];
    if (!count) return "·";
    if (matrix.unit === "counts") return number.format(count);
    const share = 100 * cellShare(row, column);
    return share < 0.95 ? "<1" : share.toFixed(0);
  }

  function cellLabel(row, column) {
    const { groups, counts } = matrix;
    return `True ${groups[row].name}, predicted ${groups[column].name}: ` +
      `${number.format(counts[row][column])} images, ${percent(cellShare(row, column))} of the ` +
      `${matrix.unit === "predicted" ? "predicted" : "true"} class`;
  }

  function drawMatrix() {
    const { groups } = matrix;
    const head = element("tr", { role: "row" }, element("td", { role: "gridcell" }));
    groups.forEach(({ name }) => head.append(
      element("th", { scope: "col", role: "columnheader", title: name }, element("bdi", {}, name)),
    ));
    const body = element("tbody", { role: "rowgroup" });
    // Mistakes, which are the point of the matrix, are coloured by the largest of them.
    let largest = 0.02;
    groups.forEach((_, row) => groups.forEach((_, column) => {
      const named = !groups[row].rest && !groups[column].rest;
      if (row !== column && named) largest = Math.max(largest, cellShare(row, column));
    }));
    groups.forEach((group, row) => {
      const line = element("tr", { role: "row" }, element(
        "th", { scope: "row", role: "rowheader", title: group.name }, element("bdi", {}, group.name),
      ));
      groups.forEach((_, column) => {
        const share = cellShare(row, column);
        const weight = Math.sqrt(row === column ? share : Math.min(1, share / largest));
        const button = element("button", {
          type: "button", tabindex: "-1", "data-row": row, "data-column": column,
          class: row === column ? "right" : "wrong", style: `--weight: ${weight.toFixed(3)}`,
          "aria-label": cellLabel(row, column), "aria-pressed": "false",
        }, cellText(row, column));
        line.append(element("td", { role: "gridcell" }, button));
      });
      body.append(line);
    });
    byId("matrix").classList.toggle("short", groups.every(({ name }) => name.length <= 3));
    byId("matrix").replaceChildren(element("thead", { role: "rowgroup" }, head), body);
    markCell();
  }

  function cellButton(row, column) {
    return byId("matrix").querySelector(`button[data-row="${row}"][data-column="${column}"]`);
  }

  function markCell() {
    for (const button of byId("matrix").querySelectorAll('button[tabindex="0"], button[aria-pressed="true"]')) {
      button.tabIndex = -1;
      button.setAttribute("aria-pressed", "false");
    }
    const button = cellButton(matrix.row, matrix.column);
    button.tabIndex = 0;
    button.setAttribute("aria-pressed", "true");
  }

  function chooseCell(row, column) {
    Object.assign(matrix, { row, column });
    markCell();
    const [from, to] = [matrix.groups[row], matrix.groups[column]];
    const list = data.images.filter((image) => from.labels.has(image.true) && to.labels.has(image.predicted));
    list.sort((one, two) => two.top[0][1] - one.top[0][1] || one.index - two.index);
    const count = matrix.counts[row][column];
    const name = (group) => element("bdi", {}, group.name);
    byId("cell-title").replaceChildren(
      ...(row === column && !from.rest ? [name(from), ", rightly so"] : [name(from), " taken for ", name(to)]),
    );
    let text = count === 1 ? "1 test image" : `${number.format(count)} test images`;
    if (from.asTrue) text += `, ${percent(count / from.asTrue)} of the true class`;
    if (to.asPredicted) text += `, ${percent(count / to.asPredicted)} of the predicted class`;
    if (count && list.length < count) text += `. ${list.length ? number.format(list.length) : "None"} of them shown`;
    byId("cell-text").textContent = `${text}.`;
    byId("cell-images").replaceChildren(...list.map((image) => thumbnail(image, list, from.rest || to.rest
      ? [data.classes[image.predicted], `true: ${data.classes[image.true]}`]
      : [percent(image.top[0][1]), image.name || `image ${image.index}`])));
    byId("cell").scrollTop = 0;
  }

  function showLargestConfusion() {
    let best = [0, 0, 0];
    matrix.counts.forEach((line, row) => line.forEach((count, column) => {
      const named = !matrix.groups[row].rest && !matrix.groups[column].rest;
      if (named && row !== column && count > best[2]) best = [row, column, count];
    }));
    chooseCell(best[0], best[1]);
  }

  function moveInMatrix(event) {
    const button = event.target.closest("button");
    if (!button) return;
    const last = matrix.groups.length - 1;
    let [row, column] = [Number(button.dataset.row), Number(button.dataset.column)];
    const moves = {
      ArrowUp: () => (row = Math.max(0, row - 1)),
      ArrowDown: () => (row = Math.min(last, row + 1)),
      ArrowLeft: () => (column = Math.max(0, column - 1)),
      ArrowRight: () => (column = Math.min(last, column + 1)),
      Home: () => (column = 0),
      End: () => (column = last),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
    for (const item of byId("matrix").querySelectorAll('button[tabindex="0"]')) item.tabIndex = -1;
    const next = cellButton(row, column);
    next.tabIndex = 0;
    next.focus();
  }

  function showConfusion(label, predicted) {
    const find = (wanted) => matrix.groups.findIndex((group) => group.labels.has(wanted));
    if (matrix.groups[find(label)].rest || matrix.groups[find(predicted)].rest) {
      byId("focus").value = String(label);
      groupClasses(label);
      drawMatrix();
    }
    chooseCell(find(label), find(predicted));
    byId("cell").scrollIntoView({ block: "nearest" });
  }

  function setUpMatrix() {
    readMatrix();
    const focus = byId("focus");
    if (data.classes.length > MAX_CLASSES) {
      byId("focus-label").hidden = false;
      focus.append(element("option", { value: "-1" }, "of the most frequent confusions"));
      data.classes.forEach((name, label) => focus.append(element("option", { value: label }, name)));
      focus.addEventListener("change", () => {
        groupClasses(Number(focus.value));
        Object.assign(matrix, { row: 0, column: 0 });
        drawMatrix();
        showLargestConfusion();
      });
    }
    byId("matrix-tool").hidden = false;
    groupClasses(-1);
    drawMatrix();
    showLargestConfusion();
    byId("matrix").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) chooseCell(Number(button.dataset.row), Number(button.dataset.column));
    });
    byId("matrix").addEventListener("keydown", moveInMatrix);
    for (const input of document.querySelectorAll("input[name=unit]")) {
      input.addEventListener("change", () => {
        matrix.unit = input.value;
        drawMatrix();
      });
    }
    for (const button of document.querySelectorAll(".show-cell")) {
      button.hidden = false;
      button.addEventListener("click", () => showConfusion(Number(button.dataset.true), Number(button.dataset.predicted)));
    }
  }

  // ---- Copying, and the section in view ----------------------------------------------------

  function setUpCopying() {
    if (!navigator.clipboard) return;
    for (const button of document.querySelectorAll(".copy")) {
      button.hidden = false;
      const before = [...button.childNodes];
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(byId(button.dataset.copy).textContent);
          button.replaceChildren("Copied");
        } catch {
          button.replaceChildren("Not allowed here");
        }
        setTimeout(() => button.replaceChildren(...before), 2000);
      });
    }
  }

  function setUpNavigation() {
    const links = [...document.querySelectorAll("nav a")];
    if (!links.length) return;
    const sections = links.map((link) => byId(link.hash.slice(1)));
    const list = links[0].closest("ul");
    let current = null;
    // The last section that begins above the navigation's lower edge; none beside the headline. At
    // the end of the page sections are too short to come so far: there it is the one that was
    // asked for, or the last.
    const find = () => {
      const page = document.documentElement;
      const line = parseFloat(getComputedStyle(page).scrollPaddingTop) + 1;
      const tops = sections.map((section) => section.getBoundingClientRect().top);
      const found = tops.findLastIndex((top) => top <= line);
      if (window.scrollY <= 0 || window.scrollY + window.innerHeight < page.scrollHeight - 2) return found;
      const asked = links.findIndex((link) => link.hash === location.hash);
      return asked > found ? asked : links.length - 1;
    };
    const mark = () => {
      const link = links[find()] || null;
      if (link === current) return;
      if (current) current.removeAttribute("aria-current");
      current = link;
      if (!link) return;
      link.setAttribute("aria-current", "true");
      const middle = link.offsetLeft + link.offsetWidth / 2 - list.offsetLeft;
      list.scrollLeft = middle - list.clientWidth / 2;
    };
    let waits = false;
    const later = () => {
      if (waits) return;
      waits = true;
      requestAnimationFrame(() => { waits = false; mark(); });
    };
    for (const event of ["scroll", "resize", "hashchange"]) window.addEventListener(event, later, { passive: true });
    mark();
  }

  document.querySelectorAll("table.sortable").forEach(setUpSorting);
  if (data.classes) {
    setUpMatrix();
    setUpGallery("mistakes");
    setUpGallery("uncertain");
    setUpViewer();
  }
  setUpScrolling();
  setUpCopying();
  setUpNavigation();
  setUpTheme();
})();
