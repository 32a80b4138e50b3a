import numpy as np

from keras_adv import noise


def test_uniform_and_normal_have_their_moments_and_no_pattern():
    keys = noise.seeds(0, np.arange(400, dtype="uint32"))
    u = np.asarray(noise.uniform(keys, (50, 5)))
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 5e-3 and abs(u.std() - 12**-0.5) < 5e-3
    rows = np.corrcoef(u.reshape(400, -1)[:60])
    assert np.abs(rows - np.eye(60)).max() < 0.35
    n = np.asarray(noise.normal(keys, (250,)))
    assert abs(n.mean()) < 0.01 and abs(n.std() - 1) < 0.01 and np.isfinite(n).all()


def test_stream_is_the_same_on_every_backend():
    got = np.asarray(noise.uniform(noise.seeds(5, np.arange(2, dtype="uint32")), (3,)))
    want = [
        [0.379371702671051, 0.44334834814071655, 0.30348312854766846],
        [0.5405883193016052, 0.03783607482910156, 0.8572038412094116],
    ]
    np.testing.assert_allclose(got, want, atol=1e-7)


def test_a_seed_gives_its_own_stream_whatever_its_batch():
    keys = np.asarray(noise.seeds(1, np.arange(9, dtype="uint32")))
    whole = np.asarray(noise.uniform(keys, (4, 4)))
    np.testing.assert_array_equal(noise.uniform(keys[5:6], (4, 4)), whole[5:6])
    assert len(np.unique(keys)) == 9
