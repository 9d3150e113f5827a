# python: pip, uv, pipx and poetry. Packages are downloaded; nothing is uploaded.
#
# For a profile of yours: extends = ["claude-code", "python"]. The caches are fresh in
# each run. An index of your own is an allow of its own, with its token as a secret.
description = "pip, uv and poetry: packages are downloaded, nothing is uploaded"
extends     = ["base"]

network {
  allow "python" {
    hosts  = ["pypi.org", "*.pythonhosted.org"]
    reason = "packages of Python"

    request "GET|HEAD" "/**" {}
  }
}

files {
  exec = ["~/.pyenv/versions", "~/.local/share/uv/python", "~/.local/share/uv/tools", "~/.local/bin"]
}

process {
  pass_env = ["PATH"] # the programs of version managers are in folders of yours
  env = {
    PIP_DISABLE_PIP_VERSION_CHECK = "1"
    PIP_NO_INPUT                  = "1"
    UV_PYTHON_DOWNLOADS           = "never" # they come from a code host
  }
}
