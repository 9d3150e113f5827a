package react

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

const (
	webhookTries = 3
	webhookTime  = 5 * time.Second // each try
	maxAnswer    = 64 << 10        // read, so that the connection ends in order; nothing looks at it
)

// post sends a message to a webhook: https, or http to this machine (the profile's
// decoder refuses the rest). Redirects are not followed, since they would lead where
// the profile does not say. What may work later is tried again with the same id.
func post(ctx context.Context, to, id string, body []byte) error {
	client := &http.Client{Timeout: webhookTime, Transport: transport(to),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	var errs []error
	for try := range webhookTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return errors.Join(append(errs, errors.New("the run ended before it could be tried again"))...)
			case <-time.After(time.Duration(try) * time.Second):
			}
		}
		again, err := postOnce(ctx, client, to, id, body)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
		if !again {
			break
		}
	}
	return errors.Join(errs...)
}

func postOnce(ctx context.Context, client *http.Client, to, id string, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("the URL can't be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "agentjail")
	req.Header.Set("Idempotency-Key", id)
	resp, err := client.Do(req)
	if err != nil {
		// Without the URL, which may have a token in its path or query.
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return true, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return false, nil
	}
	// RFC 9110: 408 and 429 ask to come again, 5xx are the server's own trouble.
	again = resp.StatusCode >= 500 || resp.StatusCode == http.StatusRequestTimeout || resp.StatusCode == http.StatusTooManyRequests
	return again, fmt.Errorf("it answered %s", strconv.Itoa(resp.StatusCode))
}

// transport dials plain http on this machine only, whatever "localhost" is said to be.
func transport(to string) *http.Transport {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: webhookTime, ForceAttemptHTTP2: true}
	if u, err := url.Parse(to); err == nil && u.Scheme == "https" {
		return t
	}
	t.Proxy = nil
	d := net.Dialer{Control: func(_, addr string, _ syscall.RawConn) error {
		if a, err := netip.ParseAddrPort(addr); err != nil || !a.Addr().Unmap().IsLoopback() {
			return fmt.Errorf("%s is not this machine, and http is for it alone", addr)
		}
		return nil
	}}
	t.DialContext = d.DialContext
	return t
}

// host is the part of a URL that may be shown.
func host(to string) string {
	u, err := url.Parse(to)
	if err != nil {
		return ""
	}
	return u.Host
}
