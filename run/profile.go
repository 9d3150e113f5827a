package run

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
)

// defaultProfile is what a run without --profile uses.
const defaultProfile = "default"

// loadProfile loads a profile, reports every mistake in it at once, and caps it by the
// machine's ceiling.
func loadProfile(h Host, d Dirs, name string, vars map[string]string, strict bool) (*profiles.Spec, error) {
	ceiling, err := loadCeiling(ceilingFile, h.UID)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = defaultProfile
	}
	spec, diags, files := profiles.Load(name, h.profileOptions(d, vars))
	bad := diags.HasErrors() || strict && len(diags) > 0
	if len(diags) > 0 {
		text, err := diagnosticText(diags, files)
		if err != nil {
			return nil, err
		}
		if bad {
			return nil, &diagnosticError{text}
		}
		fmt.Fprint(h.Stderr, text)
	}
	if ceiling != nil {
		if err := ceiling.CheckBudgets(spec); err != nil {
			return nil, err
		}
		ceiling.Cap(spec)
	}
	return spec, nil
}

// diagnosticError is a profile's mistakes, rendered; it is printed as it is.
type diagnosticError struct{ text string }

func (e *diagnosticError) Error() string { return strings.TrimRight(e.text, "\n") }

func diagnosticText(diags hcl.Diagnostics, files map[string]*hcl.File) (string, error) {
	var b bytes.Buffer
	if err := profiles.Render(&b, diags, files, 100, false); err != nil {
		return "", err
	}
	return b.String(), nil
}

// upstreamCAs reads the certificates that the profile names for its upstreams.
func upstreamCAs(n profiles.Network) (map[string][]byte, error) {
	pems := map[string][]byte{}
	for _, r := range n.Allow {
		if r.UpstreamCA == "" || pems[r.UpstreamCA] != nil {
			continue
		}
		data, err := os.ReadFile(r.UpstreamCA)
		if err != nil {
			return nil, fmt.Errorf("%s: upstream_ca: %w", r.Origin, err)
		}
		if !bytes.Contains(data, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, fmt.Errorf("%s: upstream_ca %s holds no PEM certificate", r.Origin, r.UpstreamCA)
		}
		if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
			return nil, fmt.Errorf("%s: upstream_ca %s holds a private key, which must not enter the jail\nhint: name a file with the certificate alone", r.Origin, r.UpstreamCA)
		}
		pems[r.UpstreamCA] = data
	}
	return pems, nil
}

// caBundle is the host's bundle with the run's own CA (PEM) and what the profile's
// upstream_ca files add; "" where nothing is added and the host's own is bound as it is.
func caBundle(pems map[string][]byte, own []byte) (string, error) {
	if len(pems) == 0 && own == nil {
		return "", nil
	}
	host, err := os.ReadFile(jail.CABundlePath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("the host's CA bundle: %w", err)
	}
	var b strings.Builder
	b.Write(host)
	for _, path := range slices.Sorted(maps.Keys(pems)) {
		b.WriteByte('\n')
		b.Write(pems[path])
	}
	b.WriteByte('\n')
	b.Write(own)
	return b.String(), nil
}

// ownEnv is what the jail itself has to say in the environment.
func (s *session) ownEnv() map[string]string {
	env := map[string]string{"AGENTJAIL": s.id}
	if s.bundle != "" {
		// What reads the system's bundle needs nothing; these read only a variable.
		for _, name := range bundleVariables() {
			env[name] = jail.CABundlePath
		}
	}
	if s.spec.SSHAgent != nil {
		env["SSH_AUTH_SOCK"] = agentSocketPath
	}
	s.tls.environment(env, s.spec)
	return env
}

// bundleVariables name the bundle to programs that do not read the system's: Node,
// OpenSSL and Go and Ruby, Python's requests, pip and httpx, curl, git, Codex, Deno,
// the AWS tools, Cargo, gRPC, Nix and Bundler.
func bundleVariables() []string {
	return []string{"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "CODEX_CA_CERTIFICATE", "DENO_CERT",
		"AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "NIX_SSL_CERT_FILE", "BUNDLE_SSL_CA_CERT", "HTTPLIB2_CA_CERTS"}
}

// limitTexts are the limits in force, for the trail.
func limitTexts(s *profiles.Spec, f jail.Features) map[string]string {
	l := s.Limits
	out := map[string]string{"workspace": profiles.FormatSize(s.Workspace.Size), "workspace_files": strconv.FormatInt(s.Workspace.Files, 10)}
	add := func(name string, limit *profiles.Limit, text func(int64) string) {
		if limit != nil {
			out[name] = text(limit.Value)
		}
	}
	number := func(n int64) string { return fmt.Sprint(n) }
	add("memory", l.Memory, profiles.FormatSize)
	add("cpus", l.CPUs, func(n int64) string { return fmt.Sprintf("%.3g", float64(n)/1000) })
	add("processes", l.Processes, number)
	add("open_files", l.OpenFiles, number)
	add("output", l.Output, profiles.FormatSize)
	add("io_weight", l.IOWeight, number)
	if l.Time != nil {
		out["time"] = profiles.FormatDuration(l.Time.Duration())
	}
	if l.Idle != nil {
		out["idle"] = profiles.FormatDuration(l.Idle.Duration())
	}
	for _, f := range s.Files.Limits {
		out[f.Action] = f.Rate.String()
	}
	for _, b := range s.Budgets {
		out["budget "+b.Name] = b.String()
	}
	for _, name := range jail.StandIns(l, f) {
		out[name] += " (best effort)"
	}
	return out
}
