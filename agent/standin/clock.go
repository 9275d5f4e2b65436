package standin

import (
	"net/http"
	"time"
)

// now is what AWS's clock says: it may be ahead of this machine's, or behind it (Options.ClockAhead).
func (c *Cloud) now() time.Time { return c.onClock(time.Now()) }

// onClock is a time of this machine's as AWS's clock shows it.
func (c *Cloud) onClock(t time.Time) time.Time { return t.Add(time.Duration(c.ahead.Load())) }

// SetClockAhead changes Options.ClockAhead: what an instance sees whose own time is set, forward or back.
func (c *Cloud) SetClockAhead(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

// dated gives every answer the Date of AWS's clock. S3 keeps this machine's: the gateway that Clouds share has one clock.
func (c *Cloud) dated(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", c.now().UTC().Format(http.TimeFormat))
		h.ServeHTTP(w, r)
	})
}
