import pytest

from tests.tiny import TinyBackbone, make_tiny_trainer
from tlkit import Reporter, RunFolderError, WeightsError, run_folder


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunFolderError("No space left.")])
def test_a_run_stopped_before_its_config_is_written_leaves_no_folder(tmp_path, monkeypatch, error):
    def stop(folder, config):
        raise error

    monkeypatch.setattr(run_folder, "write_config", stop)
    with pytest.raises((KeyboardInterrupt, RunFolderError)):
        make_tiny_trainer(tmp_path).run()
    assert list((tmp_path / "runs").iterdir()) == []


def test_one_stopped_after_it_can_be_resumed(tmp_path, monkeypatch):
    trainer = make_tiny_trainer(tmp_path)

    def stop(session):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer.workflow, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
    [folder] = (tmp_path / "runs").iterdir()
    assert make_tiny_trainer(tmp_path).resume(folder).folder == folder


def test_a_refused_run_leaves_no_folder_though_its_pictures_were_listed(tmp_path):
    class Refusing(TinyBackbone):
        def build(self):
            raise WeightsError("refused")

    class Listing(Reporter):
        name = "listing"

        def on_run_begin(self, run, **kwargs):
            (run.folder / "pictures.csv").write_text("name\n")

    with pytest.raises(WeightsError, match="refused"):
        make_tiny_trainer(tmp_path, backbone=Refusing(), reporters=[Listing()]).run()
    assert list((tmp_path / "runs").iterdir()) == []
