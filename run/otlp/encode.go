package otlp

import (
	"encoding/json"
	"strconv"
	"time"
)

// The JSON encoding of OTLP's protobuf messages: lowerCamelCase names, 64-bit numbers as
// strings, enums as numbers (specs/otlp, "JSON Protobuf Encoding").

type value struct {
	String *string `json:"stringValue,omitempty"`
	Int    *string `json:"intValue,omitempty"`
}

type attribute struct {
	Key   string `json:"key"`
	Value value  `json:"value"`
}

func text(key, s string) attribute { return attribute{key, value{String: &s}} }

func number(key string, n int64) attribute {
	s := strconv.FormatInt(n, 10)
	return attribute{key, value{Int: &s}}
}

type resource struct {
	Attributes []attribute `json:"attributes"`
}

type scope struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

type logRecord struct {
	Time           string      `json:"timeUnixNano"`
	Observed       string      `json:"observedTimeUnixNano"`
	SeverityNumber int         `json:"severityNumber"`
	SeverityText   string      `json:"severityText,omitempty"`
	EventName      string      `json:"eventName,omitempty"`
	Body           value       `json:"body"`
	Attributes     []attribute `json:"attributes"`
}

type scopeLogs struct {
	Scope   scope       `json:"scope"`
	Records []logRecord `json:"logRecords"`
}

type resourceLogs struct {
	Resource resource    `json:"resource"`
	Scopes   []scopeLogs `json:"scopeLogs"`
}

type logsRequest struct {
	Resources []resourceLogs `json:"resourceLogs"`
}

// event is what is read of a line of the trail.
type event struct {
	Time     int64  `json:"time"`
	TimeDT   string `json:"time_dt"`
	Severity int    `json:"severity_id"`
	Name     string `json:"severity"`
	TypeName string `json:"type_name"`
	Type     int64  `json:"type_uid"`
	Message  string `json:"message"`
	Metadata struct {
		UID      string `json:"uid"`
		Sequence int64  `json:"sequence"`
	} `json:"metadata"`
}

// severityNumber maps OCSF's severity to OTLP's (logs data model, SeverityNumber: INFO 9,
// INFO2 10, WARN 13, ERROR 17, FATAL 21).
func severityNumber(ocsf int) int {
	switch ocsf {
	case 1:
		return 9
	case 2:
		return 10
	case 3:
		return 13
	case 4:
		return 17
	case 5, 6:
		return 21
	}
	return 0 // unspecified
}

// record makes a log record of a line. The whole event is its body, so that nothing is
// lost on the way.
func record(line []byte, observed time.Time) (logRecord, error) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return logRecord{}, err
	}
	at := time.UnixMilli(e.Time)
	if t, err := time.Parse(time.RFC3339Nano, e.TimeDT); err == nil {
		at = t
	}
	body := string(line)
	return logRecord{Time: nano(at), Observed: nano(observed), SeverityNumber: severityNumber(e.Severity), SeverityText: e.Name, EventName: e.TypeName,
		Body: value{String: &body},
		Attributes: []attribute{number("ocsf.type_uid", e.Type), text("ocsf.message", e.Message), text("log.record.uid", e.Metadata.UID),
			number("ocsf.sequence", e.Metadata.Sequence)}}, nil
}

func nano(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

// Metric is one figure of a run. One that only grows is a sum from the run's start on.
type Metric struct {
	Name, Unit, Help string
	Value            float64
	Grows            bool
	Labels           map[string]string
}

type dataPoint struct {
	Start      string      `json:"startTimeUnixNano,omitempty"`
	Time       string      `json:"timeUnixNano"`
	Value      float64     `json:"asDouble"`
	Attributes []attribute `json:"attributes,omitempty"`
}

type points struct {
	Points []dataPoint `json:"dataPoints"`
}

type sum struct {
	points
	Temporality int  `json:"aggregationTemporality"` // 2: cumulative
	Monotonic   bool `json:"isMonotonic"`
}

type metric struct {
	Name  string  `json:"name"`
	Help  string  `json:"description,omitempty"`
	Unit  string  `json:"unit,omitempty"`
	Gauge *points `json:"gauge,omitempty"`
	Sum   *sum    `json:"sum,omitempty"`
}

type scopeMetrics struct {
	Scope   scope    `json:"scope"`
	Metrics []metric `json:"metrics"`
}

type resourceMetrics struct {
	Resource resource       `json:"resource"`
	Scopes   []scopeMetrics `json:"scopeMetrics"`
}

type metricsRequest struct {
	Resources []resourceMetrics `json:"resourceMetrics"`
}

// metrics encodes figures; those of one name are one metric.
func metrics(list []Metric, begun, now time.Time) []metric {
	var out []metric
	place := map[string]int{}
	for _, m := range list {
		p := dataPoint{Time: nano(now), Value: m.Value}
		for k, v := range m.Labels {
			p.Attributes = append(p.Attributes, text(k, v))
		}
		i, ok := place[m.Name]
		if !ok {
			i = len(out)
			place[m.Name] = i
			x := metric{Name: m.Name, Help: m.Help, Unit: m.Unit}
			if m.Grows {
				x.Sum = &sum{Temporality: 2, Monotonic: true}
			} else {
				x.Gauge = &points{}
			}
			out = append(out, x)
		}
		if out[i].Sum != nil {
			p.Start = nano(begun)
			out[i].Sum.Points = append(out[i].Sum.Points, p)
		} else {
			out[i].Gauge.Points = append(out[i].Gauge.Points, p)
		}
	}
	return out
}
