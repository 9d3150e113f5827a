package audit

import (
	"cmp"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// ModelCall is a request to a provider of models and what its answer said of itself.
// It never holds anything of what was asked or answered.
type ModelCall struct {
	ID       uint64 `json:"id,omitempty"` // of the connection, as in Connect
	Provider string `json:"provider"`
	Model    string `json:"model"` // as the answer names it, else as the request does
	Host     string `json:"host"`
	Port     uint16 `json:"port"`
	Path     string `json:"path"`
	Status   int    `json:"status,omitempty"` // of the answer; 0: none was given

	// Usage says how much of what it used the answer told: "whole", "partial" (the
	// counts are the least that it used), "unknown".
	Usage          string `json:"usage"`
	Input          int64  `json:"input"` // tokens; the four are of different tokens
	Output         int64  `json:"output"`
	CacheRead      int64  `json:"cache_read"`
	CacheWrite     int64  `json:"cache_write"`
	CacheWriteLong int64  `json:"cache_write_1h,omitempty"` // a part of CacheWrite

	CostMicroUSD *int64 `json:"cost_microusd,omitempty"` // nil where no price is known
	Estimated    bool   `json:"estimated,omitempty"`     // the cost is what it may have been at most, as far as that is known

	Tools   int64   `json:"tools,omitempty"` // uses of tools that the model asked for
	Outcome Outcome `json:"outcome"`
	Rule    string  `json:"rule,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	Process Process `json:"process"`
}

// ModelTool is one use of a tool that a model asked for. Whether the agent did it is
// for other records to say.
type ModelTool struct {
	ID       uint64  `json:"id,omitempty"`
	Provider string  `json:"provider"`
	Model    string  `json:"model"`
	Host     string  `json:"host"`
	Port     uint16  `json:"port"`
	Name     string  `json:"name"`
	Digest   string  `json:"digest,omitempty"` // SHA-256 of the arguments' JSON text without white space between tokens, hex
	Rule     string  `json:"rule,omitempty"`
	Process  Process `json:"process"`
}

func (ModelCall) record() {}
func (ModelTool) record() {}

func apiActivity() class { return class{6003, "API Activity", 6, "Application Activity"} }

// aiRoles are those of OCSF's message_context that are written.
func aiAssistant() caption { return caption{2, "Assistant"} }
func aiTool() caption      { return caption{3, "Tool"} }

func (s source) modelCall(r ModelCall, at time.Time) (header, object) {
	h := header{
		class:    apiActivity(),
		activity: activity{1, "Create"},
		severity: severityFor(r.Outcome),
		verdict:  verdictOf(r.Outcome),
		message:  "call of " + cmp.Or(r.Model, "an unknown model") + " at " + target(r.Host, "", r.Port) + ", usage " + r.Usage,
		rule:     r.Rule,
		reason:   r.Reason,
		at:       at,
	}
	known := r.Usage != "unknown"
	prompt := r.Input + r.CacheRead + r.CacheWrite
	context := s.messageContext(r.Provider, aiAssistant())
	if known {
		context.number("completion_tokens", r.Output)
		context.number("prompt_tokens", prompt)
		context.number("total_tokens", prompt+r.Output)
	}
	u := s.arena.object(6)
	body := s.modelBody(&u, modelParts{r.ID, r.Provider, r.Model, r.Host, r.Port, "POST " + r.Path, r.Status, r.Process}, context)
	tokens := s.arena.object(5)
	if known {
		tokens.number("cache_read", r.CacheRead)
		tokens.number("cache_write", r.CacheWrite)
		tokens.number("cache_write_1h", r.CacheWriteLong)
		tokens.number("input", r.Input)
		tokens.number("output", r.Output)
	}
	if r.CostMicroUSD != nil {
		u.number("cost_microusd", *r.CostMicroUSD)
		u.flag("estimated", r.Estimated)
	}
	if known {
		u.object("tokens", tokens)
	}
	u.number("tools", r.Tools)
	u.text("usage", r.Usage)
	return h, s.root(h, body, u)
}

func (s source) modelTool(r ModelTool, at time.Time) (header, object) {
	h := header{
		class:    apiActivity(),
		activity: activity{99, "Other"},
		severity: informational(),
		verdict:  observed(success()),
		message:  cmp.Or(r.Model, "a model") + " asked for the tool " + r.Name,
		rule:     r.Rule,
		at:       at,
	}
	u := s.arena.object(3)
	body := s.modelBody(&u, modelParts{r.ID, r.Provider, r.Model, r.Host, r.Port, cmp.Or(r.Name, "unknown"), 0, r.Process}, s.messageContext(r.Provider, aiTool()))
	u.text("arguments_sha256", r.Digest)
	return h, s.root(h, body, u)
}

type modelParts struct {
	id              uint64
	provider, model string
	host            string
	port            uint16
	operation       string
	status          int
	process         Process
}

func (s source) modelBody(u *object, p modelParts, context object) object {
	body := s.arena.object(8)
	s.actor(&body, p.process)
	model := s.arena.object(2)
	model.text("ai_provider", cmp.Or(p.provider, "unknown"))
	model.text("name", cmp.Or(p.model, "unknown"))
	body.object("ai_model", model)
	api := s.arena.object(3)
	api.text("operation", p.operation)
	if p.status != 0 {
		response := s.arena.object(1)
		response.number("code", int64(p.status))
		api.object("response", response)
	}
	api.object("service", s.service(p.provider))
	body.object("api", api)
	body.object("dst_endpoint", s.endpoint(u, cmp.Or(p.host, "unknown"), "", p.port))
	body.object("message_context", context)
	src := s.arena.object(1)
	src.own("name", "jail")
	body.object("src_endpoint", src)
	if p.id != 0 {
		u.number("connection", int64(p.id))
	}
	return body
}

func (s source) messageContext(provider string, role caption) object {
	context := s.arena.object(6)
	context.own("ai_role", role.name)
	context.number("ai_role_id", role.id)
	context.object("service", s.service(provider))
	return context
}

func (s source) service(provider string) object {
	o := s.arena.object(1)
	o.text("name", cmp.Or(provider, "unknown"))
	return o
}

// EventModel is the model of a call.
type EventModel struct {
	Provider string `json:"ai_provider"`
	Name     string `json:"name"`
}

// EventAPI is what was asked for.
type EventAPI struct {
	Operation string `json:"operation"`
}

// modelUsage is what the schema has no attribute for.
type modelUsage struct {
	Usage  string `json:"usage"`
	Cost   *int64 `json:"cost_microusd"`
	Tokens struct {
		Input      int64 `json:"input"`
		Output     int64 `json:"output"`
		CacheRead  int64 `json:"cache_read"`
		CacheWrite int64 `json:"cache_write"`
	} `json:"tokens"`
}

func (e Event) modelUsage() (u modelUsage) {
	_ = json.Unmarshal(e.Unmapped, &u) // what another writer left out is zero
	return u
}

// modelView is a call in a person's words.
func (e Event) modelView() string {
	u := e.modelUsage()
	t := u.Tokens
	parts := []string{e.Model.Name}
	if u.Usage == "unknown" {
		parts = append(parts, "tokens unknown")
	} else {
		parts = append(parts, strconv.FormatInt(t.Input+t.CacheRead+t.CacheWrite, 10)+" tokens in", strconv.FormatInt(t.Output, 10)+" out")
	}
	if u.Usage == "partial" {
		parts = append(parts, "at least")
	}
	if u.Cost != nil {
		parts = append(parts, Dollars(*u.Cost))
	}
	return strings.Join(parts, ", ")
}

// Dollars writes millionths of a dollar, with as many digits as there are, and two at
// least.
func Dollars(micro int64) string {
	sign, n := "", uint64(micro)
	if micro < 0 {
		sign, n = "-", -n
	}
	fraction := strconv.FormatUint(1_000_000+n%1_000_000, 10)[1:]
	for len(fraction) > 2 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	return sign + "$" + strconv.FormatUint(n/1_000_000, 10) + "." + fraction
}

// ModelUse is what was used of one model.
type ModelUse struct {
	Provider     string `json:"provider"`
	Model        string `json:"model"`
	Calls        int64  `json:"calls"`
	Input        int64  `json:"input"` // tokens
	Output       int64  `json:"output"`
	CacheRead    int64  `json:"cache_read"`
	CacheWrite   int64  `json:"cache_write"`
	CostMicroUSD int64  `json:"cost_microusd"`
	Unpriced     int64  `json:"unpriced,omitempty"` // calls whose cost nobody knows
	Inexact      int64  `json:"inexact,omitempty"`  // calls whose counts are not whole
}

// Add counts the call of an event of a model.
func (m *ModelUse) Add(e Event) { m.add(e.modelUsage()) }

// add counts one call.
func (m *ModelUse) add(u modelUsage) {
	m.Calls++
	m.Input, m.Output = m.Input+u.Tokens.Input, m.Output+u.Tokens.Output
	m.CacheRead, m.CacheWrite = m.CacheRead+u.Tokens.CacheRead, m.CacheWrite+u.Tokens.CacheWrite
	if u.Cost != nil {
		m.CostMicroUSD += min(max(*u.Cost, 0), math.MaxInt64-m.CostMicroUSD) // a sum that stays at its end
	} else {
		m.Unpriced++
	}
	if u.Usage != "whole" {
		m.Inexact++
	}
}
