# git: clone and fetch from the large code hosts over HTTPS; push where you have a token.
#
# For a profile of yours: extends = ["claude-code", "git"]. Reading works without a token.
# Pushing does where its variable is set (GITHUB_TOKEN, GITLAB_TOKEN, BITBUCKET_TOKEN):
# the token goes into every request of git's to that host, so that private repositories
# can be read too, and no account of the agent's own can be used in its place. It may push
# to whatever the token may: give it one of a single repository. Where an agent may read
# and the token must not help, unset it.
#
# The API of these hosts, large files (LFS) and SSH are not in it. Who commits is what
# you set in the environment: your configuration of git may hold tokens and stays outside.
description = "git over HTTPS: clone and fetch, and push where a token is set"
extends     = ["base"]

secret "git-github" {
  like     = "github-git"
  variable = "AGENTJAIL_GITHUB" # nothing reads it: the token is put in without the agent
  inject   = true
  optional = true
}

secret "git-gitlab" {
  like     = "gitlab-git"
  variable = "AGENTJAIL_GITLAB"
  inject   = true
  optional = true
}

secret "git-bitbucket" {
  like     = "bitbucket-git"
  variable = "AGENTJAIL_BITBUCKET"
  inject   = true
  optional = true
}

network {
  # What git asks for to read: the references, then the objects (gitprotocol-http(5)).
  allow "read" {
    hosts = ["github.com", "bitbucket.org", "codeberg.org"]

    request "GET" "/*/*/info/refs" {}
    request "POST" "/*/*/git-upload-pack" {}
  }

  # Its projects may lie in groups in groups.
  allow "gitlab.com" {
    request "GET" "/**/info/refs" {}
    request "POST" "/**/git-upload-pack" {}
  }

  allow "github.com" {
    secret = secret.git-github
    request "POST" "/*/*/git-receive-pack" {}
  }

  allow "gitlab.com" {
    secret = secret.git-gitlab
    request "POST" "/**/git-receive-pack" {}
  }

  allow "bitbucket.org" {
    secret = secret.git-bitbucket
    request "POST" "/*/*/git-receive-pack" {}
  }
}

process {
  pass_env = ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"]
  env = {
    GIT_TERMINAL_PROMPT = "0" # nobody is there to ask for a password
  }
}
