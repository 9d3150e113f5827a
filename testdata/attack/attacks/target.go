package attacks

// Order is what a started program is told to try, as JSON on its stdin.
type Order struct {
	Attacks []string `json:"attacks"`
	Look    bool     `json:"look"` // only look whether the targets are there
	Target  Target   `json:"target"`
}

// Answer is one line of JSON on its stdout.
type Answer struct {
	Attack string `json:"attack"`
	Answer string `json:"answer"`
}

// Target is where the canaries are.
type Target struct {
	Jailed bool `json:"jailed"`

	Home      string `json:"home"`      // the caller's home folder, which is only looked at
	Key       string `json:"key"`       // a private key beside the workspace, in a folder ".ssh"
	Outside   string `json:"outside"`   // a file beside the workspace
	Dropbox   string `json:"dropbox"`   // a folder beside the workspace that anybody may write to
	Runtime   string `json:"runtime"`   // the caller's XDG_RUNTIME_DIR, which is only looked at
	Readonly  string `json:"readonly"`  // a folder that the profile reads: file, socket, dgram, denied
	Direct    bool   `json:"direct"`    // the profile lets the agent change the workspace itself
	Workspace string `json:"workspace"` // has "inside.txt", and the symlink "out" to the key's folder
	Profile   string `json:"profile"`   // the profile itself
	State     string `json:"state"`     // agentjail's state folder
	Agentjail string `json:"agentjail"` // the program

	PID      int    `json:"pid"`      // a process of the host
	ProcPID  int    `json:"proc_pid"` // whose /proc/PID to open: 1 in the jail, the host's process without one
	Abstract string `json:"abstract"` // abstract socket
	Port     int    `json:"port"`     // TCP and UDP on the loopback
	Terminal string `json:"terminal"` // a pty of the host
	KeyName  string `json:"key_name"` // of a key in the session keyring
	IPCKey   int    `json:"ipc_key"`  // of a shared memory segment and a message queue
	Shm      string `json:"shm"`      // a file in /dev/shm

	Variable string `json:"variable"` // of the environment
	Secret   Secret `json:"secret"`

	// Of the stage whose network is made for the attacks.
	Hosts   Hosts  `json:"hosts"`
	Another string `json:"another"` // an address of the host that is no loopback

	running string // the attack's ID
}

// Secret tells a real credential from its placeholder without having it.
type Secret struct {
	Variable string `json:"variable"`
	Prefix   string `json:"prefix"` // both have it
	Length   int    `json:"length"`
	SHA256   string `json:"sha256"` // of the real one
}

// Hosts are the servers of the stage. Without a jail their names lead to them by the
// stage's own name server, in a jail by the profile.
type Hosts struct {
	TLS      string `json:"tls"`      // allowed, relayed
	Requests string `json:"requests"` // allowed: GET and POST below /allowed/; has the secret
	Other    string `json:"other"`    // allowed: GET of anything; has no secret
	Plain    string `json:"plain"`    // allowed, plain HTTP on port 80: GET below /allowed/
	Rebind   string `json:"rebind"`   // allowed: every name below it; see the stage's name server
	Refused  string `json:"refused"`  // no rule names it
	Spell    string `json:"spell"`    // allowed: every name below it but "denied" and "bücher"
	Lead     string `json:"lead"`     // allowed at RulePort: every name below it; see the stage's name server
	Alias    string `json:"alias"`    // no rule names it, and it leads to TLS
	CA       string `json:"ca"`       // PEM; for use without a jail
}
