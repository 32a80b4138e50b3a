"""What is read from features: known values, and other libraries' results."""

import math

import numpy as np
import pytest
from scipy.cluster import hierarchy
from sklearn.decomposition import PCA
from sklearn.metrics import davies_bouldin_score

from keras_adv import InvalidInput
from keras_adv.evaluation import embedding as e
from keras_adv.evaluation.embedding import pictures

LABELS = np.repeat(np.arange(4), 12)


@pytest.fixture
def draw():
    return np.random.default_rng(7)


@pytest.fixture
def blobs(draw):
    """Four groups of twelve, far apart."""
    return 50 * np.eye(4, 9)[LABELS] + draw.normal(size=(48, 9))


def test_davies_bouldin_of_two_classes_by_hand():
    # mean distances to the centroids 1 and 2, which are 10 apart
    features = np.array([[-1.0], [1.0], [8.0], [12.0]])
    assert e.davies_bouldin(features, [0, 0, 1, 1]) == pytest.approx((1 + 2) / 10)


def test_davies_bouldin_is_scikit_learns_at_every_scale_and_numbering(draw):
    features, y = draw.normal(size=(60, 5)), draw.integers(0, 4, 60)
    wanted = davies_bouldin_score(features, y)
    for scale in (1e-12, 1.0, 1e9):
        assert e.davies_bouldin(scale * features, 3 - y) == pytest.approx(wanted)


def test_a_collapse_is_not_called_perfect(blobs):
    assert math.isnan(e.davies_bouldin(np.ones((48, 3)), LABELS))
    assert math.isnan(e.davies_bouldin(blobs, np.zeros(48, int)))
    assert e.davies_bouldin([[-1.0], [1.0], [-2.0], [2.0]], [0, 0, 1, 1]) == math.inf


def test_pure_clusters_match_whatever_their_numbering(blobs, draw):
    for _ in range(3):
        names = draw.permutation(4)[LABELS]
        order = draw.permutation(48)
        clusters = e.ward(blobs[order], names[order])
        assert e.match_rate(clusters, blobs, names) == 1.0
        assert e.match_rate(clusters, blobs, (names + 1) % 4) == 0.0


def test_a_point_that_moves_and_keeps_its_name_no_longer_matches(blobs):
    clusters = e.ward(blobs, LABELS)
    moved = blobs.copy()
    moved[:6] = blobs[12:18]
    assert e.match_rate(clusters, moved, LABELS) == pytest.approx(42 / 48)
    assert e.match_rate(clusters, moved, np.concatenate([np.ones(6, int), LABELS[6:]])) == 1.0


def test_ward_finds_scipys_clusters(draw):
    features, y = draw.normal(size=(40, 3)), draw.integers(0, 6, 40)
    member = hierarchy.fcluster(hierarchy.linkage(features, "ward"), 6, "maxclust")
    wanted = np.stack([features[member == c].mean(0) for c in np.unique(member)])
    found = e.ward(features, y).centres
    order = [np.argsort(c[:, 0]) for c in (wanted, found)]
    np.testing.assert_allclose(found[order[1]], wanted[order[0]])


def test_the_majority_names_a_cluster_of_its_own_number(blobs):
    names = LABELS.copy()
    names[:5] = 3  # 7 of the first group's 12 keep theirs
    assert e.match_rate(e.ward(blobs, names), blobs, names) == pytest.approx(43 / 48)
    assert len(e.ward(blobs, names, clusters=2).dominant) == 2


def test_centroids_and_their_distances(blobs):
    features = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
    means = e.centroids(features, [0, 0, 2], 3)
    np.testing.assert_allclose(means[[0, 2]], [[1.0, 0.0], [1.0, 3.0]])
    assert np.isnan(means[1]).all()
    apart = e.centroid_distances(means)
    assert apart[0, 2] == apart[2, 0] == 3 and apart[0, 0] == 0 and np.isnan(apart[1]).all()


def test_confusion_and_the_share_of_the_nearest_class():
    counts = e.confusion(np.array([0, 0, 0, 1, 2]), np.array([0, 1, 2, 1, 1]), 3)
    assert counts.tolist() == [[1, 1, 1], [0, 1, 0], [0, 1, 0]]
    apart = e.centroid_distances(np.array([[0.0], [1.0], [3.0]]))
    assert e.nearest_share(apart, counts) == pytest.approx(2 / 3)  # 0 -> 1 and 2 -> 1, not 0 -> 2
    assert math.isnan(e.nearest_share(apart, np.eye(3, dtype=int)))


def test_cosines_are_of_directions_alone(draw):
    centres = draw.normal(size=(3, 6))
    rows = np.stack([2.5 * centres[0], -centres[1], np.zeros(6)])
    cosines = e.cosine_to_centres(rows, centres)
    assert cosines[0, 0] == pytest.approx(1) and cosines[1, 1] == pytest.approx(-1)
    assert not cosines[2].any()
    units = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    np.testing.assert_allclose(cosines[0], units @ units[0])


def test_units_and_dimensions_of_a_known_rank(draw):
    thin = draw.normal(size=(50, 4)) @ draw.normal(size=(4, 20))
    assert e.pca_dimensions(thin, share=1 - 1e-9) == 4
    assert e.pca_dimensions(thin + 3.0) == e.pca_dimensions(thin) <= 4
    thick = draw.normal(size=(60, 30))
    for share in (0.5, 0.9, 0.99):
        assert e.pca_dimensions(thick, share) == PCA(share, svd_solver="full").fit(thick).n_components_
    assert e.pca_dimensions(np.ones((5, 3))) == 0
    assert e.active_units(np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1e-9]])) == 2


def test_sensitivity_of_a_linear_map(draw):
    x = draw.normal(size=(9, 6))
    turn = np.linalg.qr(draw.normal(size=(6, 6)))[0]
    moves = draw.normal(size=(9, 6))
    wanted = np.linalg.norm(moves, axis=1) / np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(e.sensitivity(3 * x @ turn, 3 * (x + moves) @ turn), wanted)


def test_angles_of_known_perturbations():
    first = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 2.0], [0.0, 0.0]])
    second = np.array([[0.0, 5.0], [3.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(e.angles(first, second), [np.pi / 2, 0, np.pi, np.pi / 4, np.nan])


def test_the_landscape_is_the_mean_of_each_true_class():
    slopes = np.array([[1.0, 2.0], [3.0, 6.0], [5.0, 7.0]])
    assert e.gradient_landscape(slopes, [0, 0, 1]).tolist() == [[2.0, 4.0], [5.0, 7.0]]


def test_the_bound_of_what_cannot_be_told_apart_is_its_other_terms(blobs):
    bound = e.divergence_bound(blobs, blobs, LABELS, clean_error=0.25, delta=0.1)
    assert bound.divergence == 0 and bound.held_out == 0 and bound.ideal_error == 0
    complexity = 4 * math.sqrt((2 * 10 * math.log(96) + math.log(20)) / 48)
    assert bound.complexity == pytest.approx(complexity)
    assert bound.bound == pytest.approx(0.25 + complexity)


def test_features_that_moved_together_are_told_apart(blobs):
    far = e.divergence_bound(blobs, blobs + 200.0, LABELS, clean_error=0.0)
    assert far.divergence == far.held_out == 2
    assert far.bound == pytest.approx(1 + far.complexity + far.ideal_error)
    # the wrong way round, one classifier cannot have both kinds right: two errors of 1/2 at best
    swapped = e.divergence_bound(blobs[:24], blobs[np.r_[12:24, :12]], LABELS[:24], clean_error=0.0)
    assert swapped.ideal_error == pytest.approx(1) and swapped.divergence == 0


def test_the_held_out_divergence_is_not_fooled_by_few_images(draw):
    """Any 30 points of 100 features can be told from any 30 others, those they were fitted to."""
    one, other = draw.normal(size=(2, 30, 100))
    bound = e.divergence_bound(one, other, np.zeros(30, int), clean_error=0.0)
    assert bound.divergence == 2 and bound.held_out < 0.8


def test_tsne_repeats_keeps_groups_together_and_takes_whatever_comes(blobs):
    spots = pictures.tsne(blobs)
    assert np.array_equal(spots, pictures.tsne(blobs))
    apart = np.linalg.norm(spots[:, None] - spots, axis=2) + 1e9 * np.eye(48)
    assert (LABELS[apart.argmin(1)] == LABELS).all()
    assert not pictures.tsne(np.ones((5, 3))).any()
    assert pictures.tsne(np.arange(4.0)[:, None]).shape == (4, 2)
    assert pictures.pca(np.arange(4.0)[:, None], np.ones((2, 1))).shape == (6, 2)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda f: e.davies_bouldin(f, [0, 1]), "`labels`"),
        (lambda f: e.davies_bouldin(f[0], [0]), "`features`"),
        (lambda f: e.pca_dimensions(np.where(f > 0, f, np.nan)), "`features`"),
        (lambda f: e.pca_dimensions(f, share=0.0), "`share`"),
        (lambda f: e.ward(f, LABELS, clusters=49), "`clusters`"),
        (lambda f: e.sensitivity(f, f[:3]), "`attacked`"),
        (lambda f: e.angles(f[:, :2], f), "`second`"),
        (lambda f: e.divergence_bound(f, f, LABELS, clean_error=1.5), "`clean_error`"),
        (lambda f: e.divergence_bound(f, f, LABELS, clean_error=0.5, delta=0.0), "`delta`"),
    ],
)
def test_bad_input_is_named(call, name, blobs):
    with pytest.raises(InvalidInput, match=name):
        call(blobs)
