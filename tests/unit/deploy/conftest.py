"""Secrets of a deployment."""

import shutil

import pytest
from deploy_files import REPO, make_secrets


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """The files that make-secrets makes, in another folder."""
    root = tmp_path_factory.mktemp("root")
    for name in ("deploy/make-secrets", "worker/redis_store/redis.acl"):
        (root / name).parent.mkdir(parents=True)
        shutil.copy(REPO / name, root / name)
    make_secrets(root / "deploy", "the gateway's password\n").check_returncode()
    return root / "deploy" / "secrets"
