from curemed_utils.ratings.forms import Ratings, example_sheets, read_sheets, write_sheets
