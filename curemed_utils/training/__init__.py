from curemed_utils.training.launch import stage
from curemed_utils.training.stages import Paused
