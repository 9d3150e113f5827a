package profiles

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// hostIDNA is the lookup profile of UTS 46 in its nontransitional form, as browsers
// have it. Hyphens in the third and fourth place are let through ("r3---sn-x" is a
// name that exists); a label that begins "xn--" is decoded and checked all the same.
// Lengths are checked by checkLabels, after the final dot is gone.
func hostIDNA() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(),
		idna.StrictDomainName(true), idna.CheckHyphens(false))
}

// CanonicalHost gives a host its one spelling: either a name (lower case, A-labels
// of IDNA, no final dot), or an address (IPv4-mapped ones as IPv4). Exactly one of
// the two is set when the error is nil. Whatever one program could read as another
// host than the next one does is refused: the number forms of inet_aton(3) ("127.1",
// "0x7f.1", "017700000001"), zone identifiers, userinfo, ports, spaces and NUL.
func CanonicalHost(s string) (name string, addr netip.Addr, err error) {
	if err := checkHostBytes(s); err != nil {
		return "", netip.Addr{}, err
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		if !closed || !strings.Contains(inner, ":") {
			return "", netip.Addr{}, fmt.Errorf("host %q is not an IPv6 address in brackets", s)
		}
		return canonicalV6(inner)
	}
	if strings.Contains(s, ":") {
		return canonicalV6(s)
	}
	mapped, err := mapName(s)
	if err != nil {
		return "", netip.Addr{}, err
	}
	if last := mapped[strings.LastIndexByte(mapped, '.')+1:]; isNumber(last) {
		a, err := netip.ParseAddr(mapped)
		if err != nil || !a.Is4() {
			return "", netip.Addr{}, fmt.Errorf("host %q ends in a number, so it is an IPv4 address, and it is not written as one: write four decimal numbers without leading zeros, for example \"127.0.0.1\"", s)
		}
		return "", a, nil
	}
	if mutate.Off(mutate.Spelling) {
		return s, netip.Addr{}, nil
	}
	if err := checkLabels(mapped); err != nil {
		return "", netip.Addr{}, err
	}
	return mapped, netip.Addr{}, nil
}

func canonicalV6(s string) (string, netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return "", netip.Addr{}, fmt.Errorf("host %q is not an IPv6 address", s)
	}
	return "", a.Unmap(), nil // without a zone: checkHostBytes refused the "%" before it
}

func checkHostBytes(s string) error {
	switch {
	case s == "":
		return errors.New("host is empty")
	case len(s) > 1024: // no name of 253 bytes needs more in any spelling that people use
		return fmt.Errorf("host of %d bytes is too long", len(s))
	case !utf8.ValidString(s):
		return fmt.Errorf("host %q is not UTF-8", s)
	case strings.Contains(s, "://"):
		return fmt.Errorf("host %q is a URL: write only the host, for example \"example.com\"", s)
	}
	for _, r := range s {
		switch {
		case r <= ' ' || r == 0x7f:
			return fmt.Errorf("host %q has a space or control character in it", s)
		case r == '@':
			return fmt.Errorf("host %q has userinfo in it: write only what follows the \"@\"", s)
		case r == '/' || r == '\\' || r == '?' || r == '#':
			return fmt.Errorf("host %q has %q in it: write only the host, without scheme or path", s, r)
		case r == '%':
			return fmt.Errorf("host %q has \"%%\" in it: zone identifiers and percent-encoding are refused", s)
		}
	}
	return nil
}

// mapName lower-cases and maps a name to A-labels and takes one final dot away.
// The mapping comes first because it turns other dots (U+3002, U+FF0E) and other
// digits into ASCII ones.
func mapName(s string) (string, error) {
	name, ascii := strings.ToLower(s), true
	for i := range len(s) {
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if !ascii || strings.Contains(name, "xn--") {
		m, err := hostIDNA().ToASCII(s)
		if err != nil {
			return "", fmt.Errorf("host %q is not a valid international name (IDNA): %v", s, err)
		}
		name = m
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", fmt.Errorf("host %q has no name in it", s)
	}
	return name, nil
}

// checkLabels holds a name to the letters, digits and hyphens of RFC 1123 §2.1 and
// to the lengths of RFC 1035 §2.3.4.
func checkLabels(name string) error {
	if len(name) > 253 {
		return fmt.Errorf("host %q is longer than 253 bytes", name)
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return fmt.Errorf("host %q has an empty label", name)
		case len(label) > 63:
			return fmt.Errorf("host %q has a label longer than 63 bytes", name)
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("host %q has a label that begins or ends with a hyphen", name)
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return fmt.Errorf("host %q has %q in it: a name is letters, digits, hyphens and dots", name, c)
			}
		}
	}
	return nil
}

// isNumber says whether a final label makes its host an IPv4 address, as the URL
// Standard's "ends in a number checker" has it.
func isNumber(label string) bool {
	if label == "" {
		return false
	}
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return leadingDigits(label) == label
}

// ParseHostPattern reads a host as profiles write it: a name, "*.example.com", "*",
// an address or a CIDR; with ":port" behind it except for a CIDR, and an IPv6 address
// in brackets then. The port is 0 where none is written.
func ParseHostPattern(s string) (HostPattern, uint16, error) {
	if err := checkPatternBytes(s); err != nil {
		return HostPattern{}, 0, err
	}
	if strings.Contains(s, "/") && !strings.Contains(s, "://") {
		p, err := parsePrefix(s)
		return p, 0, err
	}
	host, port, err := splitPort(s)
	if err != nil {
		return HostPattern{}, 0, err
	}
	if host == "*" {
		return HostPattern{Kind: HostWildcard}, port, nil
	}
	rest, wild := strings.CutPrefix(host, "*.")
	if strings.Contains(rest, "*") {
		return HostPattern{}, 0, fmt.Errorf("host %q has a \"*\" that is not its whole first label: write \"*.example.com\" for every name below example.com", s)
	}
	name, addr, err := CanonicalHost(rest)
	switch {
	case err != nil:
		return HostPattern{}, 0, err
	case wild && addr.IsValid():
		return HostPattern{}, 0, fmt.Errorf("host %q puts \"*\" before an address: write a CIDR, for example \"10.20.0.0/16\"", s)
	case wild && len(name) > 251:
		return HostPattern{}, 0, fmt.Errorf("host %q is so long that no name is below it", s)
	case wild:
		return HostPattern{Kind: HostWildcard, Name: name}, port, nil
	case addr.IsValid():
		return HostPattern{Kind: HostPrefix, Prefix: netip.PrefixFrom(addr, addr.BitLen())}, port, nil
	}
	return HostPattern{Kind: HostExact, Name: name}, port, nil
}

func checkPatternBytes(s string) error {
	if s == "" {
		return errors.New("host is empty")
	}
	for _, r := range s {
		if r <= ' ' || r == 0x7f {
			return fmt.Errorf("host %q has a space or control character in it", s)
		}
		if r == '@' { // before the colon of user:password is taken for a port's
			return fmt.Errorf("host %q has userinfo in it: write only what follows the \"@\"", s)
		}
	}
	return nil
}

func parsePrefix(s string) (HostPattern, error) {
	text := s
	if addr, tail, ok := strings.Cut(s, "/"); ok {
		if bits, port, ok := strings.Cut(tail, ":"); ok && leadingDigits(bits) == bits && bits != "" {
			return HostPattern{}, fmt.Errorf("%q has a port behind a CIDR: write \"%s/%s\" and ports = [%s]", s, addr, bits, port)
		}
		if leadingDigits(tail) != tail || tail == "" {
			return HostPattern{}, fmt.Errorf("%q is neither a host nor a CIDR: write only the host, without scheme or path", s)
		}
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return HostPattern{}, fmt.Errorf("%q is not a CIDR: write for example \"10.20.0.0/16\" or \"2001:db8::/32\"", s)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return HostPattern{}, fmt.Errorf("%q mixes IPv4-mapped and other IPv6 addresses: write the IPv4 network itself", s)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p.Masked() != p {
		return HostPattern{}, fmt.Errorf("%q has bits set behind its prefix length: write %q for the network or %q for the one address", s, p.Masked(), p.Addr())
	}
	return HostPattern{Kind: HostPrefix, Prefix: p}, nil
}

// splitPort takes ":port" off. A bare IPv6 address has no port: its last colon
// belongs to it.
func splitPort(s string) (host string, port uint16, err error) {
	if strings.Contains(s, "://") {
		return "", 0, fmt.Errorf("host %q is a URL: write only the host, for example \"example.com\"", s)
	}
	text := ""
	switch i := strings.LastIndexByte(s, ':'); {
	case strings.HasPrefix(s, "["):
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", 0, fmt.Errorf("host %q has no closing bracket", s)
		}
		host, text = s[:end+1], s[end+1:]
		if text == "" {
			return host, 0, nil
		}
		if text[0] != ':' {
			return "", 0, fmt.Errorf("host %q has something other than a port behind its bracket", s)
		}
		text = text[1:]
	case i < 0 || strings.Count(s, ":") > 1:
		return s, 0, nil
	default:
		host, text = s[:i], s[i+1:]
	}
	port, err = parsePort(text)
	if err != nil {
		return "", 0, fmt.Errorf("host %q: %w", s, err)
	}
	return host, port, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || leadingDigits(s) != s || s[0] == '0' {
		return 0, fmt.Errorf("%q is not a port: a port is a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// String writes the pattern as a profile does.
func (p HostPattern) String() string {
	switch {
	case p.Kind == HostWildcard && p.Name == "":
		return "*"
	case p.Kind == HostWildcard:
		return "*." + p.Name
	case p.Kind == HostPrefix && p.Prefix.IsSingleIP():
		return p.Prefix.Addr().String()
	case p.Kind == HostPrefix:
		return p.Prefix.String()
	}
	return p.Name
}

// match says whether the pattern covers the host (name set, or addr valid) and how
// specific it is about it. Names match names and addresses match addresses: what a
// name resolves to is not known here.
func (p HostPattern) match(name string, addr netip.Addr) (specific int, ok bool) {
	switch p.Kind {
	case HostExact:
		return 1 << 16, name != "" && p.Name == name
	case HostWildcard:
		if p.Name == "" {
			return 0, name != ""
		}
		return len(p.Name), strings.HasSuffix(name, "."+p.Name)
	case HostPrefix:
		return p.Prefix.Bits(), addr.IsValid() && p.Prefix.Contains(addr)
	}
	return 0, false
}
