"""Names of files, folders and collections of a SavedModel."""

from graphflow.serialization.saved_model import FILE_NAME_PB, FILE_NAME_PBTXT, SCHEMA_VERSION

ASSETS_KEY = "saved_model_assets"
LEGACY_INIT_OP_KEY = "legacy_init_op"
MAIN_OP_KEY = "saved_model_main_op"
INIT_OP_SIGNATURE_KEY = "__saved_model_init_op"
TRAIN_OP_SIGNATURE_KEY = "__saved_model_train_op"
SAVED_MODEL_SCHEMA_VERSION = SCHEMA_VERSION
SAVED_MODEL_FILENAME_PB = FILE_NAME_PB
SAVED_MODEL_FILENAME_PBTXT = FILE_NAME_PBTXT
ASSETS_DIRECTORY = "assets"
EXTRA_ASSETS_DIRECTORY = "assets.extra"
VARIABLES_DIRECTORY = "variables"
VARIABLES_FILENAME = "variables"
