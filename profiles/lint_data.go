package profiles

import "strings"

// registries are the suffixes of two labels that names are sold under in many places.
// They are of the Public Suffix List (publicsuffix.org), whose ICANN part has about
// 7,000: whoever writes a wildcard over one of the rest is not warned.
func registries() []string {
	return strings.Fields(`
ac.uk co.uk gov.uk ltd.uk me.uk net.uk org.uk plc.uk sch.uk
com.au net.au org.au edu.au gov.au id.au asn.au
co.nz net.nz org.nz ac.nz geek.nz
co.jp ne.jp or.jp ac.jp go.jp
co.kr or.kr re.kr go.kr
com.cn net.cn org.cn gov.cn edu.cn ac.cn
com.tw org.tw idv.tw com.hk org.hk com.sg org.sg com.my
co.in net.in org.in gen.in firm.in ac.in gov.in
com.br net.br org.br gov.br com.ar com.mx org.mx com.co com.pe com.ve com.uy
co.za org.za net.za co.ke com.ng com.gh com.eg
com.tr org.tr net.tr gov.tr com.ua in.ua org.ua com.ru msk.ru spb.ru
com.pl net.pl org.pl edu.pl gov.pl
co.il org.il com.sa com.pk com.bd com.ph com.vn co.th in.th co.id or.id web.id
com.es org.es nom.es com.pt com.gr com.ro
co.at or.at com.fr asso.fr
eu.com us.com uk.com de.com gb.net br.com cn.com jpn.com
`)
}

// userContent are hosts below which, or on which, everybody can put what they like, or
// receive what is sent to them. Those of them that the Public Suffix List has are of its
// private part.
func userContent() []string {
	return strings.Fields(`
github.io githubusercontent.com githubpreview.dev app.github.dev gitlab.io bitbucket.io codeberg.page
vercel.app now.sh netlify.app netlify.com herokuapp.com onrender.com fly.dev railway.app up.railway.app deno.dev val.run glitch.me
pages.dev workers.dev trycloudflare.com r2.dev cloudflarestorage.com
web.app firebaseapp.com firebaseio.com appspot.com run.app cloudfunctions.net googleusercontent.com storage.googleapis.com
amazonaws.com s3.amazonaws.com execute-api.us-east-1.amazonaws.com cloudfront.net elasticbeanstalk.com amplifyapp.com awsapprunner.com on.aws
azurewebsites.net azurestaticapps.net blob.core.windows.net core.windows.net azureedge.net cloudapp.net cloudapp.azure.com trafficmanager.net
ondigitalocean.app digitaloceanspaces.com linodeobjects.com backblazeb2.com wasabisys.com supabase.co
ngrok.io ngrok.app ngrok-free.app ngrok.dev loca.lt localtunnel.me serveo.net lhr.life pinggy.link devtunnels.ms
blogspot.com wordpress.com tumblr.com medium.com substack.com wixsite.com weebly.com notion.site webflow.io surge.sh neocities.org
repl.co replit.app replit.dev codesandbox.io csb.app stackblitz.io webcontainer.io gitpod.io hf.space
requestbin.net pipedream.net webhook.site interact.sh oast.fun oast.pro oast.live oast.site oast.online oast.me burpcollaborator.net oastify.com dnslog.cn
duckdns.org dyndns.org no-ip.org ddns.net hopto.org sslip.io nip.io xip.io
slack.com discord.com discordapp.com telegram.org pastebin.com
`)
}

// executedPaths are places whose content programs of the host run, or obey as if it
// were theirs.
func executedPaths() []struct{ path, what string } {
	const shell, search, service, timer = "shells run it when they start", "programs in it are run by name", "systemd runs what it says", "cron runs what it says"
	return []struct{ path, what string }{
		{"~/.bashrc", shell}, {"~/.bash_profile", shell}, {"~/.bash_login", shell}, {"~/.bash_logout", shell}, {"~/.profile", shell}, {"~/.zshrc", shell}, {"~/.zshenv", shell}, {"~/.zprofile", shell},
		{"~/.config/fish", shell}, {"/etc/profile", shell}, {"/etc/profile.d", shell}, {"/etc/bash.bashrc", shell}, {"/etc/zsh", shell},
		{"~/bin", search}, {"~/.local/bin", search}, {"~/.cargo/bin", search}, {"~/go/bin", search}, {"/usr/local/bin", search}, {"/usr/local/sbin", search},
		{"/usr/bin", search}, {"/usr/sbin", search}, {"/bin", search}, {"/sbin", search}, {"/opt/*/bin", search},
		{"/usr/lib", "programs load libraries out of it"}, {"/lib", "programs load libraries out of it"}, {"/etc/ld.so.preload", "every program loads what it names"},
		{"~/.config/systemd", service}, {"/etc/systemd", service}, {"/lib/systemd", service}, {"/usr/lib/systemd", service},
		{"/etc/cron.d", timer}, {"/etc/crontab", timer}, {"/etc/cron.daily", timer}, {"/var/spool/cron", timer},
		{"~/.config/autostart", "desktops run what is in it"}, {"~/.local/share/applications", "desktops run what is in it"}, {"~/.xsessionrc", "desktops run it"}, {"~/.xprofile", "desktops run it"},
		{"~/.gitconfig", "git runs the hooks, filters and helpers that it names"}, {"~/.config/git", "git runs the hooks, filters and helpers that it names"}, {"/etc/gitconfig", "git runs the hooks, filters and helpers that it names"},
		{"~/.ssh", "sshd and ssh obey it"}, {"~/.vimrc", "vim runs it"}, {"~/.config/nvim", "nvim runs it"}, {"~/.emacs.d", "emacs runs it"}, {"~/.vscode", "VS Code runs extensions out of it"}, {"~/.config/Code", "VS Code runs what its settings name"},
		{"~/.claude", "agents on the host run the hooks and servers that it names"}, {"~/.cursor", "agents on the host run the servers that it names"}, {"~/.codex", "agents on the host run the servers that it names"}, {"~/.gemini", "agents on the host run the servers that it names"},
		{"/etc/sudoers", "sudo obeys it"}, {"/etc/sudoers.d", "sudo obeys it"}, {"/etc/passwd", "the system obeys it"}, {"/etc/agentjail", "agentjail obeys it"}, {"~/.config/agentjail", "agentjail obeys it"},
	}
}
