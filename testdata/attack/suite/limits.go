package suite

import (
	"fmt"
	"strings"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// limitScenarios use up what a profile limits. Each takes little more than it may have,
// and never without end: where the limit does not hold, this machine must not suffer.
func limitScenarios() []scenario {
	list := []struct {
		id    string
		line  int
		layer string
		what  string
		class string
		limit string // what the profile says
		take  string // a shell script that says "beyond" where it got more
	}{
		{"limit-disk", 64, attacks.Disk, "write more than the workspace may hold", "a host that runs full",
			`workspace {
  mode  = "overlay"
  upper = "memory"
  size  = "1MiB"
}`, `head -c 4000000 /dev/zero >big 2>/dev/null; [ "$(wc -c <big)" -gt 2000000 ] && echo beyond`},
		{"limit-files", 64, attacks.Disk, "make more files than the workspace may hold", "a host that runs full",
			`workspace {
  mode  = "overlay"
  upper = "memory"
  files = 50
}`, `i=0; while [ $i -lt 100 ]; do true >n$i; i=$((i+1)); done 2>/dev/null; [ -e n99 ] && echo beyond`},
		// On disk nothing of the kernel's holds it: who goes beyond is ended for it, a moment later.
		{"limit-disk-sampled", 64, attacks.Sampler, "write more than a workspace on disk may hold, and stay", "a host that runs full",
			`workspace {
  mode  = "overlay"
  upper = "disk"
  size  = "1MiB"
}`, `head -c 4000000 /dev/zero >big; sleep 20; echo beyond`},
		{"limit-files-sampled", 64, attacks.Sampler, "make more files than a workspace on disk may hold, and stay", "a host that runs full",
			`workspace {
  mode  = "overlay"
  upper = "disk"
  files = 50
}`, `i=0; while [ $i -lt 100 ]; do true >n$i; i=$((i+1)); done; sleep 20; echo beyond`},
		{"limit-memory", 64, attacks.Cgroup, "hold more memory, in a file of the jail's, than it may", "a host without memory",
			`limits {
  memory  = "48MiB"
  enforce = "strict"
}`, `head -c 100000000 /dev/zero >/tmp/big; [ "$(wc -c </tmp/big)" -gt 90000000 ] && echo beyond`},
		{"limit-processes", 64, attacks.Rlimits, "have more processes than it may", "fork bomb",
			`limits {
  processes = 30
  enforce   = "best-effort"
}`, `(i=0; while [ $i -lt 60 ]; do sleep 600 >/dev/null & echo x; i=$((i+1)); done) 2>/dev/null | wc -l >/tmp/n; [ "$(cat /tmp/n)" = 60 ] && echo beyond`},
		{"limit-open-files", 64, attacks.Rlimits, "have more open files than it may", "a host without descriptors",
			`limits { open_files = 40 }`, `ulimit -n 41 2>/dev/null && echo beyond; [ "$(ulimit -n)" -gt 40 ] && echo beyond`},
		{"limit-deletions", 64, attacks.Exec, "delete more files than it may", "files that are gone",
			`on "limit" { action = "log" }`, `i=0; while [ $i -lt 20 ]; do true >d$i; i=$((i+1)); done; rm -f d*; [ -e d19 ] || echo beyond`},
		{"exec-denied", 34, attacks.Exec, "start a denied program under another name, from memory and by the loader", "CVE-2026-25724: a rule by name",
			`process {
  deny "true" "no" {}
}`, `cp /bin/true /tmp/other; /tmp/other no && echo beyond; ln -s /bin/true /tmp/link; /tmp/link no && echo beyond; /bin/true no && echo beyond`},
	}
	var scenarios []scenario
	for _, l := range list {
		scenarios = append(scenarios, scenario{
			attacks.Attack{ID: l.id, Line: l.line, What: l.what, Class: l.class, Stopped: []attacks.Stop{{Layer: l.layer, Answers: []string{"ok"}}}},
			func(s *scene, c *canaries) (string, error) {
				profile := s.profile(c.target, l.limit)
				if l.id == "limit-deletions" {
					profile = strings.Replace(profile, "files {\n", "files {\n  limit \"delete\" { rate = \"5/run\" }\n", 1)
				}
				if err := s.writeProfile(c, profile); err != nil {
					return "", err
				}
				e, err := s.agentjail(c, nil, "", "/bin/sh", "-c", l.take+"; echo tried")
				switch {
				case err != nil:
					return "", err
				case e.code == 125 && strings.Contains(e.stderr, "cgroup"):
					return "", mootError("the host gives this user no cgroup, and the run is refused")
				case e.code == 125 && l.layer == attacks.Disk && strings.Contains(e.stderr, "before Linux 6.6"):
					return "", mootError("this kernel's overlay has no upper layer in memory, and the run is refused")
				case e.code == 125 && l.layer == attacks.Sampler && strings.Contains(e.stderr, "overlay on disk"):
					return "", mootError("the state folder can hold no upper layer, and the run is refused")
				case strings.Contains(e.stdout, "beyond"):
					return fmt.Sprintf("it got beyond the limit: %s", strings.ReplaceAll(l.limit, "\n", " ")), nil
				case l.layer == attacks.Sampler && (e.code != 137 || !e.has("end", "limit reached")):
					return "", fmt.Errorf("the attack was not ended for what it took: exit code %d, stdout %q\n%s", e.code, e.stdout, e.stderr)
				case !strings.Contains(e.stdout, "tried") && e.code != 137:
					return "", fmt.Errorf("the attack did not come to its end: exit code %d, stdout %q\n%s", e.code, e.stdout, e.stderr)
				}
				return "", nil
			}})
	}
	return scenarios
}
