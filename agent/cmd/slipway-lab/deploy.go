package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) deployCommand() *cobra.Command {
	var timeout time.Duration
	var detach bool
	q := url.Values{}
	var application, group, behavior, description, config string
	cmd := &cobra.Command{
		Use: "deploy BUNDLE", Short: "deploy a folder or an archive in one step, and watch it", Args: cobra.ExactArgs(1),
		Long: `deploy stores BUNDLE (a folder, zip, tar or tgz) in the lab's S3, makes application and deployment group where there are
none, creates a deployment to them and follows it to its end.`,
		Example: "  slipway-lab deploy testdata/tinitter\n  slipway-lab deploy bundle.tgz --group web --file-exists-behavior OVERWRITE --timeout 2m",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			body, bundleType, err := readBundle(args[0])
			if err != nil {
				return &exitError{exitFailure, err}
			}
			for name, value := range map[string]string{"application": application, "group": group, "fileExistsBehavior": behavior, "description": description, "config": config, "bundleType": bundleType} {
				q.Set(name, value)
			}
			var made struct{ DeploymentID string }
			if err := c.do(cmd.Context(), "POST", "/lab/deploy?"+q.Encode(), body, &made); err != nil {
				return &exitError{exitFailure, err}
			}
			if detach {
				fmt.Fprintln(p.stdout, made.DeploymentID)
				return nil
			}
			return p.watch(cmd.Context(), made.DeploymentID, timeout)
		},
	}
	s := cmd.Flags()
	s.StringVar(&application, "application", "lab", "application `name`")
	s.StringVar(&group, "group", "lab", "deployment group `name`")
	s.StringVar(&config, "config", "", "deployment configuration `name` (default: the group's)")
	s.StringVar(&behavior, "file-exists-behavior", "", "DISALLOW, OVERWRITE or RETAIN (default DISALLOW)")
	s.StringVar(&description, "description", "", "`text` to keep with the deployment")
	s.BoolVar(&detach, "detach", false, "print the deployment id and do not watch")
	s.DurationVar(&timeout, "timeout", 0, "stop watching after this time (default: never)")
	p.addEndpoint(cmd)
	return cmd
}

// readBundle reads an archive, or packs a folder.
func readBundle(path string) (body []byte, bundleType string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	if info.IsDir() {
		body, err := pack(path)
		return body, "zip", err
	}
	for _, kind := range []struct{ suffix, name string }{{".zip", "zip"}, {".tgz", "tgz"}, {".tar.gz", "tgz"}, {".tar", "tar"}} {
		if strings.HasSuffix(path, kind.suffix) {
			body, err := os.ReadFile(path)
			return body, kind.name, err
		}
	}
	return nil, "", fmt.Errorf("%s: not a folder, and not named .zip, .tar, .tgz or .tar.gz", path)
}

// pack makes a zip of a folder, with modes and links.
func pack(dir string) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(dir, path)
		if err != nil || relErr != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		header, err := zip.FileInfoHeader(info)
		if err != nil {
			return err
		}
		header.Name, header.Method = filepath.ToSlash(name), zip.Deflate
		var content []byte
		switch {
		case d.IsDir():
			header.Name, header.Method = header.Name+"/", zip.Store
		case d.Type()&fs.ModeSymlink != 0:
			var target string
			target, err = os.Readlink(path)
			content = []byte(target)
		case d.Type().IsRegular():
			content, err = os.ReadFile(path)
		default:
			return fmt.Errorf("%s: neither file, folder nor link", path)
		}
		if err != nil {
			return err
		}
		w, err := z.CreateHeader(header)
		if err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	return b.Bytes(), nil
}
