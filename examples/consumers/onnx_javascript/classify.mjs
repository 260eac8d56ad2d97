// Classify PNG pictures with an exported .onnx file: node classify.mjs MODEL PICTURE...
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { PNG } from "pngjs";
import protobuf from "protobufjs";

const [file, ...pictures] = process.argv.slice(2);
const bytes = readFileSync(file);

// ONNX Runtime for JavaScript does not tell the metadata: read field 14 of ONNX's ModelProto.
const { root } = protobuf.parse(`syntax = "proto3";
  message Entry { string key = 1; string value = 2; }
  message Model { repeated Entry metadata_props = 14; }`, { keepCase: true });
const { metadata_props } = root.lookupType("Model").decode(bytes);
const { value } = metadata_props.find((entry) => entry.key === "tlkit");
const names = JSON.parse(value).class_names;

const session = await ort.InferenceSession.create(bytes);
for (const picture of pictures) {
  const { data, width, height } = PNG.sync.read(readFileSync(picture));
  const pixels = new Uint8Array(width * height * 3); // RGBA to RGB, laid on white
  for (let place = 0; place < pixels.length; place++) {
    const first = 4 * Math.floor(place / 3);
    pixels[place] = Math.round(255 + ((data[first + (place % 3)] - 255) * data[first + 3]) / 255);
  }
  const tensor = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
  const { probabilities } = await session.run({ pixels: tensor });
  const best = probabilities.data.indexOf(Math.max(...probabilities.data));
  console.log(JSON.stringify({ picture, class: names[best], probability: probabilities.data[best] }));
}
