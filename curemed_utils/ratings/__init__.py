from curemed_utils.ratings.forms import Ratings, by_id, example, export, read
