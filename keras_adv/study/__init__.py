"""The study with people of Matyasko's thesis (4.5, table 4.2): do adversarial images change what people
see?"""

from keras_adv.study.answering import read_answers
from keras_adv.study.key import read_key
from keras_adv.study.scores import agreement, kappa, score, wilson
from keras_adv.study.tables import agreement_table, people_table, score_table
from keras_adv.study.writing import make

__all__ = [
    "agreement", "agreement_table", "kappa", "make", "people_table", "read_answers", "read_key", "score",
    "score_table", "wilson",
]  # fmt: skip
