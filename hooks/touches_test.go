package hooks

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What a script would do to the machine of whoever runs it.
func TestTouches(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
	}{
		{"systemctl restart nginx", []string{"systemctl restart nginx"}},
		{"sudo -u root systemctl daemon-reload", []string{"systemctl daemon-reload"}},
		{"systemctl is-active nginx; systemctl status nginx; service nginx status; systemctl cat nginx", nil},
		{"service nginx stop || /etc/init.d/nginx stop", []string{"service nginx stop", "/etc/init.d/nginx stop"}},
		{"apt-get install -y nginx && yum list installed", []string{"apt-get install -y nginx"}},
		{"id deploy || useradd deploy", []string{"useradd deploy"}},
		{"if pgrep -f shop; then pkill -f shop; fi", []string{"pkill -f shop"}},
		{"kill -0 1; kill $(cat shop.pid)", []string{"kill ..."}},
		{"docker ps; docker stop shop", []string{"docker stop shop"}},
		{"crontab -l; crontab cron.txt", []string{"crontab cron.txt"}},
		{"DIR=/srv/shop\nrm -rf $DIR/cache \"$DIR\"", []string{"rm -rf /srv/shop/cache /srv/shop"}},
		{"rm -rf node_modules build/*; mkdir -p tmp; cp a b; mv a b", nil},
		{"cp shop.conf /etc/shop.conf; cp /etc/hosts .", []string{"cp shop.conf /etc/shop.conf"}},
		{"cp -t /etc a b; ln -sfn $PWD /srv/shop; install -m 644 a /usr/local/bin", []string{"cp -t /etc a b", "ln -sfn ... /srv/shop", "install -m 644 a /usr/local/bin"}},
		{"mv /etc/a b", []string{"mv /etc/a b"}},
		{"sed -i s/a/b/ /etc/hosts; sed s/a/b/ /etc/hosts", []string{"sed -i s/a/b/ /etc/hosts"}},
		{"find /var/cache/shop -name '*.x' -delete; find /etc -name x", []string{"find /var/cache/shop -name *.x -delete"}},
		{"tar -xzf a.tgz -C /opt; unzip -q a.zip -d out; curl -o /usr/local/bin/x https://example.com/x", []string{"tar -xzf a.tgz -C /opt", "curl -o /usr/local/bin/x https://example.com/x"}},
		{"echo a > /etc/shop.conf; echo b >> /tmp/log; echo c > /dev/null; cat < /etc/hosts; echo d > out 2>&1", []string{"> /etc/shop.conf"}},
		{"echo a | tee -a /var/log/shop.log", []string{"tee -a /var/log/shop.log"}},
		{"chown -R www-data: /opt/app; chmod 600 .env; touch ~/.shop", []string{"chown -R www-data: /opt/app", "touch ~/.shop"}},
		{"rm -rf \"$USHER_RELEASE_DIR/cache\"; echo x > $USHER_RELEASE_DIR/VERSION", nil},
		{"venv/bin/pip install -r requirements.txt; pip install x; pip list", []string{"pip install x"}},
		{"npm ci; bundle install; php artisan migrate", nil},
		{"mount; ls /etc; cat /etc/passwd; [ -e /etc/x ]; cd /srv; test -d /opt", nil},
		{". scripts/lib.sh", []string{"reboot"}},
		{"bash \"$(dirname \"$0\")/lib.sh\"", []string{"reboot"}},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"scripts/a.sh": "#!/bin/bash\n" + c.line + "\n", "scripts/lib.sh": "reboot\n"} {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, touch := range Touches([]Script{{Event: AfterInstall, Location: "scripts/a.sh", File: filepath.Join(dir, "scripts/a.sh")}}) {
			got = append(got, touch.Command)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s\n got %q\nwant %q", c.line, got, c.want)
		}
	}
}
