import pytest

from eccsnn.errors import ConfigError
from eccsnn.experiments import run_config, schema


def test_every_shipped_config_is_valid_and_named_after_its_file():
    shipped = schema.shipped_configs()
    assert {"ecc_snn/digits_debug", "ecc_snn/cifar10_full"} <= shipped.keys()
    for name in shipped:
        assert schema.load_config(name).name == name


def test_unknown_key_names_the_nearest(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("name: x\nedge:\n  model: {timestep: 4}\n  trainning: {epochs: 1}\n")
    with pytest.raises(ConfigError) as error:
        schema.load_config(str(path))
    assert "edge.model.timestep: unknown key; did you mean edge.model.timesteps?" in str(error.value)
    assert "edge.trainning: unknown key; did you mean edge.training?" in str(error.value)


def test_hopeless_key_lists_the_known_ones(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("name: x\nexecution: {zzz: 1}\n")
    with pytest.raises(ConfigError, match="known keys here: measure, thresholds"):
        schema.load_config(str(path))


@pytest.mark.parametrize(
    ("config", "override", "hint"),
    [
        ("neucodex/digits_debug", "rate_weight=1", "finetune.rate_weight"),
        ("neucodex/digits_debug", "rate_wieght=1", "finetune.rate_weight"),
        ("incremental/digits_debug", "layers=[penultimate]", "trunk.layers"),
        ("ecc_snn/digits_debug", "timesteps=4", "data.timesteps or edge.model.timesteps"),
        ("ecc_snn/digits_debug", "edge.training.epoch=4", "edge.training.epochs"),
        ("ecc_snn/digits_debug", "edge.lr=1", "edge.training.lr or cloud.training.lr or update.training.lr"),
    ],
)
def test_an_unknown_key_is_looked_for_elsewhere(config, override, hint):
    with pytest.raises(ConfigError) as error:
        schema.load_config(config, [override])
    assert str(error.value).endswith(f"unknown key; did you mean {hint}?")


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        ("ecc_snn/digits_debug", ["scenario=foo"], "scenario 'foo' is not understood; expected 'B<u>-Inc<v>'"),
        ("incremental/digits_debug", ["scenario=B99-Inc1"], "starts with 99 classes, but the data set has 10"),
        ("ecc_snn/cifar10_dvs_debug", ["scenario=B11-Inc1"], "starts with 11 classes, but the data set has 10"),
        ("ecc_snn/cifar10_dvs_debug", ["scenario=B5-Inc0"], "adds 0 classes a task.*B10-Inc1"),
        ("ecc_snn/cifar10_dvs_debug", ["data.timesteps=5"], "edge.model.timesteps is 3, but a recording becomes 5 fr"),
        ("neucodex/cifar10_dvs_debug", ["data.timesteps=null"], "network.model.timesteps is 3, but .* 10 frames"),
        ("incremental/digits_debug", ["data={name: cifar10_dvs}"], "trunk.model.timesteps is 2, but .* 10 frames"),
    ],
)
def test_what_does_not_fit_the_data_is_said_without_them(config, overrides, message, tmp_path):
    with pytest.raises(ConfigError, match=r"is not a valid configuration:\n  .*" + message) as error:
        run_config(config, overrides, runs_dir=tmp_path)
    assert "given: {" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_folders_may_have_any_number_of_classes():
    config = schema.load_config("ecc_snn/digits_debug", ["data={name: image_folder, root: /x}", "scenario=B99-Inc1"])
    assert config.scenario == "B99-Inc1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nedge: {model: {timesteps: 0}}", r"edge.model.timesteps: .*greater than or equal to 1 \(given: 0\)"),
        ("name: x\ndevice: gpu", "device"),
        ("name: x\ncloud: {training: {lr: fast}}", r"cloud.training.lr: .*\(given: 'fast'\)"),
        ("description: no name", "name: missing; add this key"),
        ("name: x\nlink: {jpeg_quality: 100}", "link.jpeg_quality: .*less than or equal to 95"),
        ("name: x\nedge: {training: {lr: .inf}}", "edge.training.lr: .*finite"),
        ("name: ../x", "name: .*pattern"),
        ("- a\n- b", "expected a mapping"),
        ("a: [", "is not valid YAML"),
        ("name: x\nsystem: neucodex2", "system"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        schema.load_config(str(path))


def test_overrides_reach_nested_keys_and_keep_the_rest():
    config = schema.load_config("ecc_snn/digits_debug", ["edge.training.epochs=7", "data.root=null", "seed=3"])
    assert (config.edge.training.epochs, config.seed) == (7, 3)
    assert config.edge.training.batch_size == 32


@pytest.mark.parametrize("override", ["epochs", "=3", "a.b"])
def test_malformed_override(override):
    with pytest.raises(ConfigError, match="not of the form key=value"):
        schema.load_config("ecc_snn/digits_debug", [override])


def test_override_below_a_plain_value():
    with pytest.raises(ConfigError, match="goes below 'seed'"):
        schema.parse_overrides(["seed=1", "seed.x=2"])


def test_unknown_config_suggests(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean ecc_snn/digits_debug"):
        schema.load_config("ecc_snn/digits_debgu")


def test_a_config_is_frozen_and_survives_its_own_dump(tmp_path):
    config = schema.load_config("ecc_snn/digits_debug")
    with pytest.raises(Exception, match="frozen"):
        config.seed = 4
    path = tmp_path / "c.yaml"
    path.write_text(schema.dump_config(config))
    assert schema.load_config(str(path)) == config
