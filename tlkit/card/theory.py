"""The theory of a lab report: what this run's parts are, each with its source."""

from __future__ import annotations

from tlkit.card.facts import Facts
from tlkit.card.markdown import code

# By the beginning of the backbone's registered name; the longest that fits counts.
_NETWORKS = {
    "mobilenet": (
        "MobileNet (Howard et al., 2017) splits each convolution into a depthwise one, which looks "
        "at one channel at a time, and a pointwise one of 1 x 1, which mixes the channels. That "
        "takes a fraction of the multiplications and parameters of an ordinary convolution."
    ),
    "mobilenet_v2": (
        "MobileNetV2 (Sandler et al., 2018) is made of inverted residual blocks: a 1 x 1 "
        "convolution widens the features, a depthwise convolution filters each channel by itself, "
        "and a second 1 x 1 convolution without activation (the linear bottleneck) narrows them "
        "again. Where the shapes allow it the block's input is added to its output. Splitting a "
        "convolution into a depthwise and a pointwise one takes a fraction of its "
        "multiplications and parameters."
    ),
    "mobilenet_v3": (
        "MobileNetV3 (Howard et al., 2019) is MobileNetV2's inverted residual block with attention "
        "to channels (squeeze and excitation) and the hard-swish activation; its layout was found "
        "by a search."
    ),
    "vgg": (
        "VGG (Simonyan and Zisserman, 2015) is a plain stack of 3 x 3 convolutions with max "
        "pooling between its five blocks."
    ),
    "resnet": (
        "ResNet (He et al., 2016) adds the input of each block to its output, so that a block "
        "learns a residual and gradients reach the first layers of a deep network."
    ),
    "xception": (
        "Xception (Chollet, 2017) is made of depthwise separable convolutions with residual "
        "connections around them."
    ),
    "inception": (
        "Inception (Szegedy et al., 2016) looks at the same features through convolutions of "
        "several sizes side by side and joins what they find."
    ),
    "densenet": (
        "DenseNet (Huang et al., 2017) gives each layer the features of all layers before it in "
        "the same block."
    ),
    "nasnet": (
        "NASNet (Zoph et al., 2018) stacks two kinds of cells whose insides were found by a search."
    ),
    "efficientnet": (
        "EfficientNet (Tan and Le, 2019) is made of inverted residual blocks, and scales depth, "
        "width and image size together by one factor."
    ),
    "efficientnet_lite": (
        "EfficientNet-Lite is EfficientNet (Tan and Le, 2019) for small devices: without squeeze "
        "and excitation, and with ReLU6 in place of swish."
    ),
    "efficientnet_v2": (
        "EfficientNetV2 (Tan and Le, 2021) has ordinary convolutions in place of depthwise ones in "
        "its first blocks, which runs faster, and a layout that was found by a search."
    ),
    "convnext": (
        "ConvNeXt (Liu et al., 2022) is a convolutional network with a layout after vision "
        "transformers: large depthwise kernels, layer normalisation, few activations."
    ),
}
_HEADS = {
    "dense": (
        "The head is a hidden layer of {units} units with ReLU, dropout of {dropout:g} in training "
        "(Srivastava et al., 2014), and a layer with one output, the logit, for each class."
    ),
    "linear": "The head is one layer with one output, the logit, for each class.",
    "mlp": (
        "The head is a perceptron with the hidden layers {units} and dropout of {dropout:g} in "
        "training, and a layer with one output, the logit, for each class."
    ),
    "logistic": (
        "The head is a multinomial logistic regression on standardised features. Its loss is "
        "convex, so that it is solved (L-BFGS) and not trained in epochs; the strength of its "
        "regularisation is C, a small one being strong."
    ),
    "prototype": (
        "The head is the nearest class mean (Snell et al., 2017): features are scaled to length 1, "
        "each class is the mean of its training images, and the logit of a class is minus the "
        "squared distance to its mean times a scale. It is computed in one go."
    ),
    "knn": (
        "The head is a vote of the most similar training images (Wu et al., 2018): similarity is "
        "the cosine of two images' features, and a vote weighs exp(similarity / temperature). "
        "Nothing is trained."
    ),
}


def theory(facts: Facts) -> list[str]:
    """Return the paragraphs, as Markdown."""
    return [
        *_transfer_learning(facts),
        _network(facts),
        _head(facts),
        *_softmax(facts),
        *_fine_tuning(facts),
        *_looks(facts),
    ]


def _transfer_learning(facts: Facts) -> list[str]:
    if facts.options("backbone").get("weights") == "random":
        return [
            "In transfer learning a network that was trained on one task serves another. In this "
            "run nothing was transferred: the backbone began with random weights."
        ]
    frozen = (
        "Here the backbone was frozen: its weights did not change, so that it is a fixed function "
        "from a picture to a vector of features, and only the head on top of it was fitted."
        if facts.fine_tuned is None
        else "Here the head was fitted first, on the frozen backbone; then the backbone's weights "
        "were changed too (fine-tuning)."
    )
    return [
        "In transfer learning a network that was trained on one task serves another. The first "
        "layers of an image network find edges, colours and textures, which most pictures share; "
        "later ones are more particular to the first task (Yosinski et al., 2014). So a task with "
        f"few pictures can begin with features that were learnt from many. {frozen}"
    ]


def _network(facts: Facts) -> str:
    name = str(facts.options("backbone").get("name", ""))
    begin = max((key for key in _NETWORKS if name.startswith(key)), key=len, default=None)
    size = facts.image_size
    seen = f" In this run it sees {size} x {size} pixels and has {facts.weights}." if size else ""
    text = _NETWORKS[begin] if begin else f"The backbone is {facts.backbone}."
    return text + seen


def _head(facts: Facts) -> str:
    options = dict(facts.options("head"))
    name = str(options.get("name", ""))
    pooling = {"avg": "mean", "max": "maximum"}.get(str(options.get("pooling", "avg")))
    before = (
        f"The {pooling} of each channel over the feature map's positions makes a vector of it. "
        if pooling
        else ""
    )
    if name not in _HEADS:
        own = code(name) or "one of its own"
        return f"{before}The head is {own}: it turns features into one logit for each class."
    text = _HEADS[name].format(**{"units": "?", "dropout": 0.0, **options})
    chosen = {key: value for item in facts.result.phases for key, value in item.chosen.items()}
    if chosen:
        values = ", ".join(f"{key} = {value}" for key, value in chosen.items())
        text += f" In this run it has {code(values)}."
    return before + text


def _softmax(facts: Facts) -> list[str]:
    classes = len(facts.result.info.class_names)
    trained = any(item.phase.steps for item in facts.result.phases)
    fitted = (
        "Training lowers the mean of this loss over the training images by steps of gradient "
        "descent, each on one batch."
        if trained
        else "No gradient steps were taken in this run; the loss measures what was computed."
    )
    return [
        f"The softmax turns the {classes} logits z into probabilities that sum to 1:",
        "    p_k = exp(z_k) / (exp(z_1) + ... + exp(z_K)),   K = " + str(classes),
        "The cross-entropy of a picture whose class is c is -ln(p_c): 0 if the right class has "
        f"probability 1, and ln K = {_log(classes)} nats if all classes have the same. {fitted}",
    ]


def _fine_tuning(facts: Facts) -> list[str]:
    phase = facts.fine_tuned
    if phase is None:
        return []
    workflow = facts.options("workflow")
    text = (
        f"Fine-tuning changed {phase.phase.trainable_parameters:,} of the network's parameters and "
        f"held {phase.phase.frozen_parameters:,} still. Batch normalisation, where there is any, "
        f"is among the latter, as its statistics would otherwise drift with small batches."
    )
    if workflow.get("name") != "freeze_and_train":
        return [text]
    parts = [f"the highest learning rate was {workflow.get('fine_tune_learning_rate', 0):g}"]
    if workflow.get("schedule") == "cosine":
        parts.append(
            "the learning rate fell along half a cosine (Loshchilov and Hutter, 2017) after a "
            "warm-up"
            if workflow.get("warmup")
            else "the learning rate fell along half a cosine (Loshchilov and Hutter, 2017)"
        )
    if workflow.get("layer_decay", 1.0) < 1:
        parts.append(
            f"each block moved {workflow['layer_decay']:g} times as far as the one above it "
            f"(Howard and Ruder, 2018), as the first layers need the least change"
        )
    if workflow.get("label_smoothing"):
        parts.append(
            f"a share of {workflow['label_smoothing']:g} of each label was spread over all classes "
            f"(Szegedy et al., 2016)"
        )
    if workflow.get("augment") and not workflow.get("fine_tune_views"):
        parts.append("each epoch saw a new random view of each picture")
    if workflow.get("mixup"):
        parts.append("pairs of pictures were blended (MixUp, Zhang et al., 2018)")
    if workflow.get("cutmix"):
        parts.append("patches were swapped between pictures (CutMix, Yun et al., 2019)")
    if workflow.get("ema"):
        parts.append("the weights are a moving average over the steps")
    return [f"{text} In this run {'; '.join(parts)}."]


def _looks(facts: Facts) -> list[str]:
    if not facts.looks():
        return []
    learnt = (
        "The head learnt from all of them."
        if facts.fine_tuned is None
        else "Training saw single views; the averaging began after it."
    )
    return [
        f"Test-time augmentation (Krizhevsky et al., 2012): the model looks at a picture more than "
        f"once. {facts.looks()} Mistakes that one view alone would cause can so be outvoted. "
        f"{learnt}"
    ]


def _log(classes: int) -> str:
    import math

    return f"{math.log(classes):.2f}"
