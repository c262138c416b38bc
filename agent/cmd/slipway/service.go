package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"slipway/systemd"
)

// packagedUnit is where a package puts the unit.
const packagedUnit = "/usr/lib/systemd/system/" + systemd.UnitName

// companions are the files beside the unit, for a host without the package.
func companions() map[string]string {
	return map[string]string{
		"/etc/systemd/system/" + systemd.SliceName: systemd.Slice,
		"/etc/tmpfiles.d/" + systemd.TmpfilesName:  systemd.Tmpfiles,
	}
}

func (p *program) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "service", Short: "install the agent as a service of this host, and control it", Args: noArgs,
		Long: `service is for a host without the package: install writes the unit that the package would bring, for the program as it lies here, and enables it.
start, stop, restart and status then do what systemctl does.`,
		Example: "  slipway service install --now\n  slipway service restart\n  slipway service uninstall",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var now bool
	install := &cobra.Command{
		Use: "install", Short: "write the unit, and enable it", Args: noArgs,
		Long:    "install writes the unit for the program as it lies here, with the --config that is given, and enables it. It starts nothing unless --now is given.",
		Example: "  slipway service install\n  slipway service install --now --config /etc/slipway/slipway.yml",
		RunE: func(*cobra.Command, []string) error {
			if _, err := p.load(); err != nil {
				return err // a service that ends with 78 at once helps nobody
			}
			return p.installService(now)
		},
	}
	install.Flags().BoolVar(&now, "now", false, "start it too")
	cmd.AddCommand(install)
	for _, verb := range []struct{ use, short string }{
		{"uninstall", "stop the agent and take the unit away; hooks that run go on"},
		{"start", "start the agent"},
		{"stop", "stop the agent; hooks that run go on"},
		{"restart", "restart the agent; hooks that run go on and are taken up again"},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: verb.use, Short: verb.short, Args: noArgs, Example: "  slipway service " + verb.use,
			RunE: func(*cobra.Command, []string) error { return p.control(verb.use) },
		})
	}
	status := p.statusCommand()
	status.Example = "  slipway service status"
	cmd.AddCommand(status)
	return cmd
}

// hostService is the agent as the service manager of this host sees it.
func (p *program) hostService() (service.Service, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, failed(fmt.Errorf("find this program: %w", err))
	}
	if strings.ContainsAny(self, `"'\`) {
		return nil, failed(fmt.Errorf("systemd starts no program whose path has quotes or backslashes: move %s", self))
	}
	args := []string{"run"}
	if p.configFile != "" {
		config, err := filepath.Abs(p.configFile)
		if err != nil {
			return nil, failed(err)
		}
		args = append(args, "--config", config)
	}
	const packaged = "ExecStart=/usr/bin/slipway run"
	unit := strings.Replace(systemd.Unit, packaged, "ExecStart="+commandLine(append([]string{self}, args...)), 1)
	svc, err := service.New(&supervised{}, &service.Config{
		Name: strings.TrimSuffix(systemd.UnitName, ".service"), Executable: self, Arguments: args,
		Option: service.KeyValue{"SystemdScript": unit},
	})
	switch {
	case errors.Is(err, service.ErrNoServiceSystemDetected):
		return nil, failed(errors.New("this host has no service manager: let what supervises it run: slipway run"))
	case err != nil:
		return nil, failed(err)
	case svc.Platform() != "linux-systemd":
		return nil, failed(fmt.Errorf("the service manager of this host is %s, and the unit is for systemd: let it run: slipway run", svc.Platform()))
	}
	return svc, nil
}

// commandLine writes words as a unit has them. Those that need it are quoted, with what systemd and the template of the service package would expand
// taken for itself.
func commandLine(words []string) string {
	var b strings.Builder
	for i, word := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		if word != "" && strings.IndexFunc(word, special) < 0 {
			b.WriteString(word)
			continue
		}
		b.WriteByte('"')
		for _, c := range []byte(word) {
			switch {
			case c == '%', c == '$' && i > 0: // systemd expands no variable in the name of the program
				b.WriteByte(c)
				b.WriteByte(c)
			case c == '"' || c == '\\' || c == '{' || c == '}' || c < ' ' || c == 0x7f:
				fmt.Fprintf(&b, "\\x%02x", c)
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String()
}

// special reports whether a rune is more than itself somewhere in a command line.
func special(r rune) bool {
	return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@", r)
}

func (p *program) installService(now bool) error {
	svc, err := p.hostService()
	if err != nil {
		return err
	}
	if _, err := os.Stat(packagedUnit); err == nil {
		return failed(fmt.Errorf("the package has installed the unit, %s: systemctl enable --now slipway", packagedUnit))
	}
	for path, text := range companions() {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return failed(fmt.Errorf("install the service: %w", err))
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return failed(fmt.Errorf("install the service: %w", err))
		}
	}
	if err := svc.Install(); err != nil {
		return failed(fmt.Errorf("install the service: %w", err))
	}
	fmt.Fprintf(p.stdout, "installed and enabled /etc/systemd/system/%s\n", systemd.UnitName)
	if !now {
		fmt.Fprintln(p.stdout, "start it with: slipway service start")
		return nil
	}
	return p.control("start")
}

// control carries out start, stop, restart or uninstall.
func (p *program) control(verb string) error {
	svc, err := p.hostService()
	if err != nil {
		return err
	}
	if verb == "uninstall" {
		return p.uninstallService(svc)
	}
	if err := service.Control(svc, verb); err != nil {
		return failed(fmt.Errorf("%w (journalctl -u slipway -n 20 says more)", err))
	}
	return nil
}

func (p *program) uninstallService(svc service.Service) error {
	if _, err := os.Stat(packagedUnit); err == nil {
		return failed(errors.New("the package has installed the service: remove the package"))
	}
	if state, err := svc.Status(); err == nil && state == service.StatusRunning {
		if err := svc.Stop(); err != nil {
			return failed(fmt.Errorf("stop the agent: %w", err))
		}
	}
	if err := svc.Uninstall(); err != nil {
		return failed(fmt.Errorf("take the service away: %w", err))
	}
	var errs []error
	for path := range companions() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return failed(fmt.Errorf("take the service away: %w", err))
	}
	fmt.Fprintln(p.stdout, "the service is gone; the deployment root and the configuration are as they were")
	return nil
}
