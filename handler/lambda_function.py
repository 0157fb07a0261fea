"""The function's entry point: ``lambda_function.lambda_handler``."""

import os

from gluon_lambda.bootstrap import create_handler

lambda_handler = create_handler(os.environ)
