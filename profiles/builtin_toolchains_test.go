package profiles

import (
	"strings"
	"testing"
)

// TestToolchainProfiles: what a tool downloads is let through, and what it would publish
// or tell of the project is not, also on top of an agent's profile.
func TestToolchainProfiles(t *testing.T) {
	for name, tt := range map[string]struct{ allowed, denied []string }{
		"node": {[]string{"GET https://x.npmjs.org/left-pad", "GET https://x.npmjs.org/@scope%2fname", "GET https://x.npmjs.org/@scope/name/-/name-1.0.0.tgz", "HEAD https://x.yarnpkg.com/y"},
			[]string{"PUT https://x.npmjs.org/left-pad", "POST https://x.npmjs.org/-/npm/v1/security/advisories/bulk", "PUT https://x.npmjs.org/-/user/org.couchdb.user:me", "GET https://nodejs.org/dist/index.json"}},
		"python": {[]string{"GET https://pypi.org/simple/requests/", "GET https://x.pythonhosted.org/packages/aa/bb/x.whl"},
			[]string{"POST https://upload.pypi.org/legacy/", "POST https://pypi.org/pypi", "GET https://bootstrap.pypa.io/get-pip.py"}},
		"go": {[]string{"GET https://x.golang.org/github.com/!burnt!sushi/toml/@v/list", "GET https://x.golang.org/lookup/example.com/m@v1.0.0"},
			[]string{"POST https://x.golang.org/upload", "GET https://github.com/x/y?go-get=1", "GET https://golang.org/dl/"}},
		"rust": {[]string{"GET https://x.crates.io/se/rd/serde", "GET https://x.crates.io/crates/serde/serde-1.0.0.crate"},
			[]string{"PUT https://crates.io/api/v1/crates/new", "PUT https://x.crates.io/api/v1/crates/new", "GET https://sh.rustup.rs/"}},
		"java": {[]string{"GET https://x.maven.org/maven2/junit/junit/4.13/junit-4.13.jar", "GET https://x.maven.apache.org/maven2/a", "GET https://x.gradle.org/m2/a"},
			[]string{"PUT https://x.maven.org/maven2/mine.jar", "POST https://x.gradle.org/scans", "GET https://github.com/gradle/gradle-distributions"}},
		"git": {[]string{"GET https://github.com/o/r.git/info/refs?service=git-upload-pack", "POST https://github.com/o/r.git/git-upload-pack", "GET https://gitlab.com/a/b/c/r.git/info/refs",
			"POST https://bitbucket.org/o/r/git-upload-pack", "POST https://codeberg.org/o/r.git/git-upload-pack"},
			[]string{"GET https://github.com/o/r/archive/main.zip", "POST https://github.com/o/r.git/info/lfs/objects/batch", "POST https://codeberg.org/o/r.git/git-receive-pack",
				"GET https://api.github.com/user", "POST https://gist.github.com/x.git/git-receive-pack", "POST https://github.com/login"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, extends := range []string{`"` + name + `"`, `"claude-code", "` + name + `"`} {
				s := mustLoad(t, "/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": "extends = [" + extends + "]"}))
				for _, c := range []struct {
					want Action
					list []string
				}{{Allow, tt.allowed}, {Deny, tt.denied}} {
					for _, q := range c.list {
						method, url, _ := strings.Cut(q, " ")
						if a := s.Try(Case{Name: "x", Request: []string{method, url}}); a.Action != c.want {
							t.Errorf("extends %s: %s: %s by %s %s", extends, q, a.Action, a.Rule, a.Reason)
						}
					}
				}
			}
			s := mustLoad(t, name, mapOptions(nil))
			for _, r := range s.Network.Allow {
				if r.AnyRequest || r.Protocol != ProtocolTLS {
					t.Errorf("%s lets every request through", r.Label)
				}
			}
		})
	}
}

// TestGitPush: pushing needs the host's token, and reading does not.
func TestGitPush(t *testing.T) {
	s := mustLoad(t, "git", mapOptions(nil))
	try := func(method, url string) Action {
		return s.Try(Case{Name: "x", Request: []string{method, url}}).Action
	}
	if a := try("POST", "https://github.com/o/r.git/git-receive-pack"); a != Allow {
		t.Errorf("with a token, a push is %s", a)
	}
	s.Without([]string{"git-github", "git-gitlab", "git-bitbucket"})
	for _, url := range []string{"https://github.com/o/r.git/git-receive-pack", "https://gitlab.com/a/b/r.git/git-receive-pack", "https://bitbucket.org/o/r/git-receive-pack"} {
		if a := try("POST", url); a != Deny {
			t.Errorf("without a token, %s is %s", url, a)
		}
	}
	if a := try("POST", "https://github.com/o/r.git/git-upload-pack"); a != Allow {
		t.Errorf("without a token, a fetch is %s", a)
	}
}

// TestRefusedProfiles: whoever names one is told why, and gets nothing.
func TestRefusedProfiles(t *testing.T) {
	for name := range refusedProfiles {
		s, diags, _ := Load(name, mapOptions(nil))
		if s != nil || !strings.Contains(diags.Error(), "root on the host") {
			t.Errorf("%s: %v", name, diags)
		}
	}
}
