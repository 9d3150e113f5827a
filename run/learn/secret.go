package learn

import (
	"path"
	"slices"
	"strings"
)

// IsSecret says whether a path looks like one where credentials are kept: by a folder
// on the way, by its whole name, by how it ends. It is a guess, and errs on the side
// of asking. The base profile's denies, with places known by name, hold beside it.
func IsSecret(p string) bool {
	parts := strings.Split(strings.ToLower(p), "/")
	name := parts[len(parts)-1]
	for _, part := range parts {
		if slices.Contains(secretFolders(), part) {
			return true
		}
	}
	if slices.Contains(secretNames(), name) {
		return true
	}
	for _, pattern := range secretPatterns() {
		if ok, err := path.Match(pattern, name); err == nil && ok {
			return true
		}
	}
	stem, ext, _ := strings.Cut(strings.TrimPrefix(name, "."), ".")
	if !slices.Contains(dataEndings(), ext) {
		return false
	}
	for _, word := range strings.FieldsFunc(stem, func(r rune) bool { return r == '-' || r == '_' || r == ' ' }) {
		if slices.Contains(secretWords(), word) {
			return true
		}
	}
	return false
}

func secretFolders() []string {
	return strings.Fields(`.ssh .gnupg .aws .azure .gcloud gcloud .kube .docker .oci .pki .password-store
		keyrings kwalletd keychains .mozilla .thunderbird google-chrome chromium bravesoftware microsoft-edge vivaldi opera
		.terraform.d .vault .pulumi .secrets .credentials 1password bitwarden keepassxc .netlify .fly .heroku .stripe`)
}

func secretNames() []string {
	return strings.Fields(`.env .envrc .netrc _netrc .pgpass .my.cnf .mylogin.cnf .npmrc .yarnrc.yml .pypirc .git-credentials .htpasswd .s3cfg .boto
		.vault-token .terraformrc .dockercfg .dockerconfigjson auth.json hosts.yml shadow gshadow sudoers master.key wallet.dat
		known_hosts authorized_keys cookies cookies.sqlite logins.json key3.db key4.db .bundle settings-security.xml
		krb5.keytab .pgpass .authinfo .fetchmailrc .msmtprc rclone.conf terraform.tfstate`)
}

func secretPatterns() []string {
	return strings.Fields(`.env.* *.env *.pem *.key *.p12 *.pfx *.p8 *.jks *.keystore *.kdbx *.ppk *.ovpn *.gpg *.asc *.age *.keytab *.kubeconfig kubeconfig*
		id_rsa* id_dsa* id_ecdsa* id_ed25519* ssh_host_*_key *_history .*_history *.tfstate *.tfstate.* *.tfvars *.pkcs12 *.crt.key`)
}

func secretWords() []string {
	return strings.Fields(`credential credentials cred creds secret secrets token tokens password passwords passwd passphrase apikey apikeys keyring keystore cookies login logins oauth oauth2 serviceaccount`)
}

// dataEndings are those of files that hold data, not programs: token.go is none.
func dataEndings() []string {
	return append(strings.Fields(`json yaml yml toml ini txt env cfg conf config xml properties db sqlite sqlite3 dat bin enc bak old csv plist`), "")
}
