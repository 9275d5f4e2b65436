package standin

import (
	"net/http"
	"time"
)

// now is what AWS's clock says: it may be ahead of this machine's, or behind it (Options.ClockAhead).
func (c *Cloud) now() time.Time { return time.Now().Add(c.options.ClockAhead) }

// dated gives every answer the Date of AWS's clock. S3 keeps this machine's: the gateway that Clouds share has one clock.
func (c *Cloud) dated(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", c.now().UTC().Format(http.TimeFormat))
		h.ServeHTTP(w, r)
	})
}
