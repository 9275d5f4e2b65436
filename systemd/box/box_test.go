package box_test

import (
	"io"
	"net/http"
	"os"
	"testing"

	"usher/systemd/box"
)

func TestMain(m *testing.M) { os.Exit(box.Main(m)) }

var image = &box.Image{
	Name: "plain",
}

func TestFirstBoot(t *testing.T) {
	i := image.Launch(t, box.Options{Metadata: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "i-1") })})
	i.WaitRunning()
	if got := i.Run("curl", "--silent", "http://169.254.169.254/"); got != "i-1" {
		t.Error(got)
	}
	t.Log(len(i.Journal()), i.WaitForEntry("SYSLOG_IDENTIFIER=systemd"))
}
