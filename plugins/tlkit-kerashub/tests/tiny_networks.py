"""The smallest network of each KerasHub image backbone class, with random weights."""

from __future__ import annotations

from typing import Any

SIZE = 32
_SHAPE = (SIZE, SIZE, 3)
_TEXT = {
    "vocabulary_size": 16,
    "embedding_dim": 8,
    "hidden_dim": 8,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_dim": 16,
    "max_sequence_length": 4,
}
_VISION = {
    "patch_size": 8,
    "hidden_dim": 8,
    "num_layers": 2,
    "num_heads": 2,
    "intermediate_dim": 16,
    "image_shape": _SHAPE,
}
_VIT = {"image_shape": _SHAPE, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 8}
_DINO = {
    "patch_size": 8,
    "num_layers": 2,
    "hidden_dim": 8,
    "num_heads": 2,
    "intermediate_dim": 16,
    "image_shape": _SHAPE,
}
_RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 64, 64, 64],
    "stackwise_num_blocks": [1, 2, 1, 1],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
}
_MIT = {
    "layerwise_depths": [1, 2],
    "num_layers": 2,
    "layerwise_num_heads": [1, 2],
    "layerwise_sr_ratios": [2, 1],
    "max_drop_path_rate": 0.1,
    "layerwise_patch_sizes": [7, 3],
    "layerwise_strides": [4, 2],
    "hidden_dims": [8, 16],
    "image_shape": _SHAPE,
}
_VIT_DET = {
    "image_shape": _SHAPE,
    "patch_size": 8,
    "hidden_size": 8,
    "num_layers": 2,
    "intermediate_dim": 16,
    "num_heads": 2,
    "global_attention_layer_indices": [1],
    "num_output_channels": 4,
    "window_size": 2,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "CSPNetBackbone": {
        "stem_filters": 8,
        "stem_kernel_size": 3,
        "stem_strides": 1,
        "stackwise_depth": [1, 2],
        "stackwise_strides": [2, 2],
        "stackwise_num_filters": [8, 16],
        "bottle_ratio": [0.5, 1.0],
        "block_ratio": [1.0, 0.5],
        "expand_ratio": [2.0, 1.0],
        "cross_linear": True,
        "down_growth": True,
        "block_type": "dark_block",
        "stage_type": "csp",
    },
    "DINOV2Backbone": {
        **_DINO,
        "num_register_tokens": 2,
        "position_embedding_shape": (64, 64, 3),
    },
    "DINOV3Backbone": _DINO,
    "DeiTBackbone": {**_VIT, "intermediate_dim": 16},
    "DenseNetBackbone": {"stackwise_num_repeats": [1, 2, 1], "growth_rate": 4},
    "EfficientNetBackbone": {
        "stackwise_kernel_sizes": [3, 3],
        "stackwise_num_repeats": [1, 2],
        "stackwise_input_filters": [8, 8],
        "stackwise_output_filters": [8, 16],
        "stackwise_expansion_ratios": [1, 4],
        "stackwise_squeeze_and_excite_ratios": [0.25, 0.25],
        "stackwise_strides": [1, 2],
        "stackwise_block_types": ["v1", "v1"],
        "stackwise_force_input_filters": [0, 0],
        "stackwise_nores_option": [False, False],
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
    },
    "HGNetV2Backbone": {
        "depths": [1, 2],
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "stem_channels": [3, 8, 8],
        "hidden_act": "relu",
        "use_learnable_affine_block": True,
        "stackwise_stage_filters": [(8, 8, 8, 1, 1, 3), (8, 8, 16, 2, 1, 3)],
        "apply_downsample": [False, True],
        "use_lightweight_conv_block": [False, True],
    },
    "MiTBackbone": _MIT,
    "MobileNetBackbone": {
        "stackwise_expansion": [[16, 24], [24]],
        "stackwise_num_blocks": [2, 1],
        "stackwise_num_filters": [[8, 8], [16]],
        "stackwise_kernel_size": [[3, 3], [5]],
        "stackwise_num_strides": [[2, 1], [2]],
        "stackwise_se_ratio": [[None, None], [0.25]],
        "stackwise_activation": [["relu", "relu"], ["hard_swish"]],
        "stackwise_padding": [[1, 1], [2]],
        "output_num_filters": 16,
        "depthwise_filters": 8,
        "depthwise_stride": 2,
        "depthwise_residual": False,
        "last_layer_filter": 24,
        "squeeze_and_excite": 0.5,
        "input_num_filters": 8,
    },
    "MobileNetV5Backbone": {
        "stackwise_block_types": [["er"], ["uir", "uir"]],
        "stackwise_num_blocks": [1, 2],
        "stackwise_num_filters": [[8], [16, 16]],
        "stackwise_strides": [[2], [2, 1]],
        "stackwise_act_layers": [["relu"], ["relu", "relu"]],
        "stackwise_exp_ratios": [[4.0], [6.0, 6.0]],
        "stackwise_se_ratios": [[0.0], [0.0, 0.0]],
        "stackwise_dw_kernel_sizes": [[0], [5, 5]],
        "stackwise_dw_start_kernel_sizes": [[0], [0, 0]],
        "stackwise_dw_end_kernel_sizes": [[0], [0, 0]],
        "stackwise_exp_kernel_sizes": [[3], [0, 0]],
        "stackwise_pw_kernel_sizes": [[1], [0, 0]],
        "stackwise_num_heads": [[0], [0, 0]],
        "stackwise_key_dims": [[0], [0, 0]],
        "stackwise_value_dims": [[0], [0, 0]],
        "stackwise_kv_strides": [[0], [0, 0]],
        "stackwise_use_cpe": [[False], [False, False]],
        "use_msfa": False,
    },
    "ResNetBackbone": _RESNET,
    "SwinTransformerBackbone": {
        "image_shape": _SHAPE,
        "patch_size": 4,
        "embed_dim": 8,
        "depths": [1, 2],
        "num_heads": [1, 2],
        "window_size": 4,
    },
    "VGGBackbone": {"stackwise_num_repeats": [1, 2], "stackwise_num_filters": [8, 16]},
    "ViTBackbone": {**_VIT, "mlp_dim": 16},
    "ViTDetBackbone": _VIT_DET,
    "XceptionBackbone": {
        "stackwise_conv_filters": [[8, 8], [8, 16], [16]],
        "stackwise_pooling": [False, True, False],
    },
}


def make(name: str) -> Any:
    """Build the network of a class; those with two towers or a decoder whole."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(0)
    hub = keras_hub.models

    if name in OPTIONS:
        return getattr(hub, name)(**OPTIONS[name])
    if name == "SigLIPBackbone":
        text = {**_TEXT, "projection_dim": 8}
        vision = hub.SigLIPVisionEncoder(**_VISION, name="vision")
        return hub.SigLIPBackbone(vision, hub.SigLIPTextEncoder(**text, name="text"))
    if name == "CLIPBackbone":
        vision = hub.CLIPVisionEncoder(**_VISION, name="vision")
        return hub.CLIPBackbone(vision, hub.CLIPTextEncoder(**_TEXT, name="text"), 8)
    if name == "MetaCLIP2Backbone":
        vision = hub.MetaCLIP2VisionEncoder(**_VISION, name="vision")
        text = hub.MetaCLIP2TextEncoder(**_TEXT, name="text")
        return hub.MetaCLIP2Backbone(vision, text, 8)
    if name == "SAMBackbone":
        prompts = keras_hub.layers.SAMPromptEncoder(
            hidden_size=8, image_embedding_size=(4, 4), input_image_size=(SIZE, SIZE)
        )
        decoder = keras_hub.layers.SAMMaskDecoder(
            hidden_size=8, num_layers=1, intermediate_dim=16, num_heads=2, embedding_dim=8
        )
        encoder = hub.ViTDetBackbone(**{**_VIT_DET, "num_output_channels": 8})
        return hub.SAMBackbone(encoder, prompts, decoder)
    raise KeyError(name)
