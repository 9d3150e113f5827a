package run

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/approval"
)

// writeAlways writes a rule as narrow as a question into a profile's file, whose comments
// and layout stay as they are, and gives the file's path. What would not load afterwards
// is not written.
func (a *approver) writeAlways(profile string, r askedRun, q approval.Question) (string, error) {
	if q.Always == nil {
		return "", fmt.Errorf("question %s can't be answered for good: there is no rule that is as narrow\nhint: say --yes with --for or --run; only hosts, and programs that the agent has not written, are approved for good", q.ID)
	}
	path, err := a.profileFile(profile)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	note := fmt.Sprintf("# %s: %s said yes to %s (question %s, %s)\n", time.Now().UTC().Format("2006-01-02"), approval.Text(a.name), q.What, q.ID, q.Rule)
	out, err := addRule(src, path, note, *q.Always)
	if err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".agentjail-*"+filepath.Ext(path))
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(out)
	err = errors.Join(err, tmp.Chmod(info.Mode().Perm()), tmp.Sync(), tmp.Close())
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	// Beside the file, so that what it extends is found in the same way.
	if _, diags, files := profiles.Load(tmp.Name(), a.h.profileOptions(a.dirs, nil)); diags.HasErrors() {
		text, err := diagnosticText(diags, files)
		if err != nil {
			return "", err
		}
		return "", fmt.Errorf("%s is left as it was: with the rule it would not load\n%s", path, strings.TrimRight(text, "\n"))
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, src) {
		return "", fmt.Errorf("%s was changed by somebody else just now, and is left alone\nhint: try again", path)
	}
	return path, os.Rename(tmp.Name(), path)
}

// profileFile finds the file of a profile that may be written.
func (a *approver) profileFile(name string) (string, error) {
	path := ""
	switch {
	case strings.ContainsRune(name, '/') || strings.HasSuffix(name, ".hcl"):
		path = absolute(a.h.Cwd, name)
	default:
		for _, dir := range a.dirs.Config {
			p := filepath.Join(dir, name+".hcl")
			if _, err := os.Lstat(p); err == nil {
				path = p
				break
			}
		}
	}
	switch {
	case path == "" && slices.Contains(profiles.Builtins(), name):
		return "", fmt.Errorf("%s is a built-in profile, which nobody can write to\nhint: make a file of your own with extends = [%q], and name that", name, name)
	case path == "":
		return "", fmt.Errorf("there is no profile %q of yours\nhint: name its file", name)
	case strings.HasSuffix(path, ".json"):
		return "", fmt.Errorf("%s is in HCL's JSON syntax, which has no comments\nhint: write the rule yourself, or use the native syntax", path)
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s does not exist\nhint: make it first, for example with extends = [\"default\"]", path)
	}
	return real, err
}

// addRule puts a rule into the profile's `network` or `process` block, or into a new one.
// Nothing else of the file's text is touched.
func addRule(src []byte, name, note string, rule approval.Always) ([]byte, error) {
	f, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	if diags.HasErrors() {
		return nil, fmt.Errorf("%s can't be read: %w\nhint: agentjail profile check %s", name, diags, name)
	}
	where, text := "network", "  "+note
	if rule.Program != "" {
		where = "process"
	}
	for line := range strings.Lines(ruleText(rule)) {
		text += "  " + line
	}
	for _, b := range f.Body.(*hclsyntax.Body).Blocks {
		if b.Type != where {
			continue
		}
		open, end := b.OpenBraceRange.End.Byte, b.CloseBraceRange.Start.Byte
		inner := string(src[open:end])
		if !strings.Contains(inner, "\n") { // on one line, where nothing can be added to it
			inner = "\n  " + strings.TrimSpace(inner) + "\n"
			if strings.TrimSpace(inner) == "" {
				inner = "\n"
			}
		}
		return slices.Concat(src[:open], []byte(strings.TrimRight(inner, " \t")+text), src[end:]), nil
	}
	if len(src) > 0 && !bytes.HasSuffix(src, []byte("\n")) {
		text = "\n" + text
	}
	before := src
	if len(bytes.TrimSpace(src)) > 0 {
		before = append(bytes.TrimRight(bytes.Clone(src), "\n"), "\n\n"...)
	}
	return slices.Concat(before, []byte(where+" {\n"+strings.TrimPrefix(text, "\n")+"}\n")), nil
}

// ruleText is the rule, with whatever is in its words quoted as HCL wants it.
func ruleText(rule approval.Always) string {
	f := hclwrite.NewEmptyFile()
	if rule.Program != "" {
		b := f.Body().AppendNewBlock("approved", []string{rule.Program}).Body()
		if len(rule.Args) > 0 {
			args := make([]cty.Value, len(rule.Args))
			for i, w := range rule.Args {
				args[i] = cty.StringVal(w)
			}
			b.SetAttributeValue("args", cty.ListVal(args))
		}
	} else {
		b := f.Body().AppendNewBlock("allow", []string{net.JoinHostPort(rule.Host, strconv.Itoa(int(rule.Port)))}).Body()
		b.SetAttributeValue("protocol", cty.StringVal(rule.Proto))
		b.SetAttributeValue("approved", cty.True)
	}
	return string(hclwrite.Format(f.Bytes()))
}
