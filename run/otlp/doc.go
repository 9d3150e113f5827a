// Package otlp sends a run's events and metrics to a collector of OpenTelemetry, by
// OTLP/HTTP in its JSON encoding (opentelemetry.io/docs/specs/otlp, stable since 1.0).
//
//	audit.jsonl ──▶ Exporter ──▶ POST URL/v1/logs      each event as it stands in the trail
//	runStats    ──▶          ──▶ POST URL/v1/metrics   what metrics.prom has too
//
// It reads the trail's file behind the writer. So a collector that is slow or dead holds
// nothing up and costs no memory: the exporter is only further behind. What it gets was
// redacted when it was written. At the run's end it has a few seconds to catch up, and
// says how much it could not deliver.
package otlp
