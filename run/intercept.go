package run

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// interception is what a run needs to let the gateway look into TLS: a CA of its own,
// and the credentials that the profile binds to hosts. The zero value is of a run
// whose profile asks for neither.
type interception struct {
	cert    []byte // of the CA, DER; nil where nothing is looked into
	keys    *netns.Keys
	secrets []netns.Secret
	redact  []string // the values, for the trail
	locked  bool     // this process's memory is kept out of swap
}

// secretTimeout is how long a secret's command may take; a person may have to unlock
// a keyring for it.
const secretTimeout = 60 * time.Second

// maxSecretOutput bounds what is read of a secret's file or command.
const maxSecretOutput = 16 << 10

// intercept makes the CA and resolves the secrets. From then on this process is as
// closed as the gateway: nobody of the same user reads its memory, and it leaves no
// core file.
func (s *session) intercept() error {
	if len(s.spec.Network.Intercepts()) == 0 {
		return nil
	}
	used := usedSecrets(s.spec)
	if s.opt.DryRun {
		for _, x := range used { // nothing is read and nothing is run
			for _, part := range parts(x) {
				s.tls.secrets = append(s.tls.secrets, netns.Secret{Secret: x, Part: part, Placeholder: strings.ReplaceAll(strings.TrimSpace("placeholder of "+x.Name+" "+string(part)), " ", "-")})
			}
		}
		return nil
	}
	if err := closeMemory(); err != nil {
		return err
	}
	s.tls.locked = netns.LockMemory()
	life := time.Duration(0)
	if l := s.spec.Limits.Time; l != nil {
		life = l.Duration()
	}
	cert, key, err := netns.NewAuthority(s.id, &s.spec.Network, life)
	if err != nil {
		return err
	}
	values := [][]byte{key}
	for _, x := range used {
		for _, part := range parts(x) {
			value, err := s.resolvePart(x, part)
			if err == nil {
				err = netns.CheckSecret(value)
			}
			var placeholder string
			if err == nil {
				placeholder, err = netns.NewPlaceholder(value)
			}
			if err != nil {
				return fmt.Errorf("secret %q (%s): %w", x.Name, x.Origin, err)
			}
			if odd := x.CheckShape(value); odd != "" && part == netns.PartSecret {
				if s.opt.Strict {
					return fmt.Errorf("%s\nhint: --strict takes warnings as errors", odd)
				}
				// That nobody can read it is no failure of the run.
				_, _ = fmt.Fprintln(s.host.Stderr, "agentjail: warning:", odd)
			}
			s.tls.redact = append(s.tls.redact, string(value))
			s.tls.secrets = append(s.tls.secrets, netns.Secret{Secret: x, Placeholder: placeholder, Part: part})
			values = append(values, value)
		}
	}
	if s.tls.keys, err = netns.NewKeys(values...); err != nil {
		return err
	}
	s.tls.cert = cert
	// The gateway's side overwrites them sooner; Close may be called twice.
	s.stack.push("forget the secrets", func() error { s.tls.keys.Close(); return nil })
	return nil
}

// usedSecrets are those that some host may get: no other is read.
func usedSecrets(spec *profiles.Spec) (used []profiles.Secret) {
	for _, x := range spec.Secrets {
		if slices.ContainsFunc(spec.Network.Allow, func(r profiles.NetRule) bool { return slices.Contains(r.Secrets, x.Name) }) {
			used = append(used, x)
		}
	}
	return used
}

// parts are the values that a secret has: one, but for AWS keys.
func parts(x profiles.Secret) []netns.Part {
	list := []netns.Part{netns.PartSecret}
	if x.AWS != nil {
		list = append(list, netns.PartAccessKey)
		if x.AWS.SessionTokenEnv != "" {
			list = append(list, netns.PartSessionToken)
		}
	}
	return list
}

// closeMemory makes this process one that no other process of its user may look into
// (prctl(2), PR_SET_DUMPABLE; ptrace(2), "ptrace access mode checking") and that
// leaves no core file. What it executes from then on is as open as ever.
func closeMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("close this process's memory: %w", err)
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil {
		return fmt.Errorf("read the limit of core files: %w", err)
	}
	core.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &core); err != nil {
		return fmt.Errorf("leave no core file: %w", err)
	}
	return nil
}

// resolvePart reads one value of a secret.
func (s *session) resolvePart(x profiles.Secret, part netns.Part) ([]byte, error) {
	switch part {
	case netns.PartAccessKey:
		x = profiles.Secret{Env: x.AWS.AccessKeyEnv}
	case netns.PartSessionToken:
		x = profiles.Secret{Env: x.AWS.SessionTokenEnv}
	}
	return s.resolveSecret(x)
}

// resolveSecret reads a secret from where its block says. Errors never hold anything
// of what was read.
func (s *session) resolveSecret(x profiles.Secret) ([]byte, error) {
	switch {
	case x.Env != "":
		v, ok := s.host.lookup(x.Env)
		if !ok || v == "" {
			return nil, fmt.Errorf("the variable %s is not set\nhint: export it before agentjail run, or take the secret from a file or a command", x.Env)
		}
		return []byte(v), nil
	case x.File != "":
		f, err := os.Open(x.File)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		b, err := readSecret(f)
		return bytes.TrimRight(b, "\r\n"), err
	}
	return s.commandSecret(x.Command)
}

// readSecret reads into one piece of memory: one that grows would leave copies.
func readSecret(r io.Reader) ([]byte, error) {
	b := make([]byte, maxSecretOutput)
	n, err := io.ReadFull(r, b)
	switch {
	case err == nil:
		clear(b)
		return nil, fmt.Errorf("there are more than %d bytes", maxSecretOutput)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return b[:n], nil
	}
	return nil, err
}

// commandSecret runs a program without a shell. Its first line is the secret, as
// password managers print it. What it says on stderr may have the secret in it, and is
// not shown.
func (s *session) commandSecret(argv []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), secretTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = s.host.Environ, s.host.Cwd
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("run %q: %w", argv[0], pathCause(err))
	}
	b, rerr := readSecret(out)
	late := ctx.Err() != nil
	if rerr != nil {
		cancel() // it may wait for ever for somebody who reads on
	}
	err = cmd.Wait()
	switch {
	case late:
		err = fmt.Errorf("%q did not end within %v", argv[0], secretTimeout)
	case rerr != nil:
		err = fmt.Errorf("%q: %w", argv[0], rerr)
	case err != nil:
		err = fmt.Errorf("%q failed: %w\nhint: run it by hand to see what it says", argv[0], err)
	}
	if err != nil {
		clear(b)
		return nil, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

// environment is what the jail sees of it all: placeholders, and where the CA is.
func (t *interception) environment(env map[string]string, spec *profiles.Spec) {
	for i, x := range t.secrets {
		if v := x.JailVariable(); v != "" {
			env[v] = x.Placeholder
			if mutate.Off(mutate.Placeholder) {
				env[v] = t.redact[i]
			}
		}
	}
	if t.cert == nil {
		return
	}
	options := javaOptions
	for _, v := range spec.Process.Env {
		if v.Name == "JAVA_TOOL_OPTIONS" {
			options = v.Value + " " + options
		}
	}
	env["JAVA_TOOL_OPTIONS"] = options
}

// checkLeaks refuses a run that would hand a real secret to the agent in its
// environment or on its command line.
func (t *interception) checkLeaks(env, argv []string) error {
	for i, value := range t.redact {
		if mutate.Off(mutate.Placeholder) {
			break
		}
		for _, kv := range env {
			if name, v, _ := strings.Cut(kv, "="); strings.Contains(v, value) {
				return fmt.Errorf("the variable %s would give the secret %q to the agent\nhint: take it out of pass_env and env; the agent gets a placeholder in %s", name, t.secrets[i].Name, t.secrets[i].JailVariable())
			}
		}
		if slices.ContainsFunc(argv, func(a string) bool { return strings.Contains(a, value) }) {
			return fmt.Errorf("the command line would give the secret %q to the agent", t.secrets[i].Name)
		}
	}
	return nil
}

// certificate is the CA's, for the jail's bundle.
func (t *interception) certificate() []byte {
	if t.cert == nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: t.cert})
}

// forGateway is what the gateway is handed.
func (t *interception) forGateway() *netns.Intercept {
	if t.cert == nil {
		return nil
	}
	return &netns.Intercept{CA: t.cert, Secrets: t.secrets, Keys: t.keys}
}

// layers say what is in force, for the trail.
func (t *interception) layers(n *profiles.Network, missing []string) []jail.Layer {
	if t.cert == nil {
		return nil
	}
	secrets := jail.Layer{Name: "secrets", State: "enforced", Detail: fmt.Sprintf("%d secrets, given to the gateway alone; the jail has placeholders", len(t.secrets)), Probe: "this process is not dumpable; no value is in the jail's environment or command line"}
	if len(missing) > 0 {
		secrets.Detail += "; optional ones that are not there: " + strings.Join(missing, ", ")
	}
	if t.locked {
		secrets.Detail += "; this process's memory is locked"
	} else if len(t.secrets) > 0 {
		secrets.State = "degraded"
		secrets.Detail += "; what this process keeps of them for the trail's redaction may be swapped out: the limit of locked memory (RLIMIT_MEMLOCK, ulimit -l) is not unlimited"
	}
	return []jail.Layer{
		{Name: "interception", State: "enforced", Detail: fmt.Sprintf("%d rules need the plaintext of TLS; a CA of this run alone, for their hosts alone", len(n.Intercepts())), Probe: "the certificate's name constraints"},
		secrets,
	}
}
