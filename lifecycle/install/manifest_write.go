package install

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// writeSteps writes the journal's second part. The commit line that makes it valid comes later.
func (a *application) writeSteps() error {
	j := a.j
	err := a.writeManifest()
	for i := range a.t.steps {
		if err != nil {
			break
		}
		s := &a.t.steps[i]
		if s.kind == stepReset {
			r := &a.t.resets[s.n]
			err = j.record(&record{Op: stepNames[s.kind], Dir: s.dir, Old: &r.old, New: &r.new})
			continue
		}
		err = j.named(stepNames[s.kind], s)
	}
	for i := range a.t.rmdirs {
		if r := &a.t.rmdirs[i]; err == nil {
			err = j.named(opRmdir, &step{dir: r.dir, name: r.name, ino: r.ino})
		}
	}
	for _, path := range a.t.labels {
		if err == nil {
			err = j.line(append(appendName([]byte(`{"op":"`+opUnlabel+`",`), "path", path), '}'))
		}
	}
	if err != nil {
		return fmt.Errorf("write the installation's journal: %w", spaceErr(err))
	}
	return nil
}

// writeManifest writes what the new revision consists of. It is no part of the transaction, but of what the finished journal
// is kept for.
func (a *application) writeManifest() error {
	p, j := a.p, a.j
	b := strconv.AppendInt(append(j.buf[:0], `{"op":"`+opList+`","size":`...), a.list.Size, 10)
	b = strconv.AppendInt(append(b, `,"mtime":`...), a.list.Mtim.Nano(), 10)
	if err := j.line(append(b, '}')); err != nil {
		return err
	}
	for _, i := range p.order {
		b := appendName(append(j.buf[:0], `{"op":"`+opHave+`",`...), "path", p.path(i))
		if i >= 0 {
			b = a.appendFile(b, i)
		} else {
			st, err := a.s.finalStatus(dirID(^i))
			if err != nil {
				return fmt.Errorf("look at directory %s: %w", p.dirs[^i].shown, err)
			}
			b = appendAttrs(append(b, `,"dir":true`...), unix.S_IFDIR|st.Mode, st.UID, st.GID)
			b = appendList(b, "acl", string(st.Access))
			b = appendList(b, "default", string(st.Dflt))
		}
		b = append(b, '}')
		if err := j.line(b); err != nil {
			return err
		}
		j.buf = b
	}
	return nil
}

func (a *application) appendFile(b []byte, i int32) []byte {
	p := a.p
	f := &p.files[i]
	is := attrs{f.mode & 0o7777, f.uid, f.gid} // as it was staged
	if f.act == actSame {
		is = p.want(f)
	}
	b = strconv.AppendInt(append(b, `,"size":`...), f.size, 10)
	b = appendAttrs(b, f.mode&unix.S_IFMT|is.mode, is.uid, is.gid)
	if f.link() {
		return appendName(append(b, ','), "link", p.links[i])
	}
	b = strconv.AppendInt(append(b, `,"mtime":`...), f.mtime, 10)
	return appendList(b, "acl", p.lists.of[i])
}

func appendAttrs(b []byte, mode, uid, gid uint32) []byte {
	b = strconv.AppendUint(append(b, `,"mode":`...), uint64(mode), 10)
	b = strconv.AppendUint(append(b, `,"uid":`...), uint64(uid), 10)
	return strconv.AppendUint(append(b, `,"gid":`...), uint64(gid), 10)
}

func appendList(b []byte, key, list string) []byte {
	if list == "" {
		return b
	}
	b = append(append(append(b, `,"`...), key...), `":"`...)
	return append(base64.StdEncoding.AppendEncode(b, []byte(list)), '"')
}

// finalStatus is what a directory of the new revision has once the installation is complete.
func (s *stage) finalStatus(id dirID) (status, error) {
	if s.p.dirs[id].live() && !s.p.req.Adopt {
		return s.afterReset(id), nil
	}
	fd, err := openDir(s.path(id))
	if err != nil {
		return status{}, err
	}
	defer closeFD(fd)
	return readStatus(fd)
}

// settle notes what the disk shows of a staged file: a file system may keep less of times and modes than it was given, and
// that is no change that somebody made.
func (w *worker) settle(i, fd int, facts dirFacts) error {
	f := &w.p.files[i]
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	f.ino, f.mtime, f.mode, f.uid, f.gid = st.Ino, st.Mtim.Nano(), st.Mode, st.Uid, st.Gid
	if !facts.list && !facts.other && (f.perm == 0 || !w.p.perms[f.perm-1].aclSet) {
		return nil
	}
	list, err := getACL(fd, aclAccess)
	if err == nil && list != nil {
		w.p.lists.note(int32(i), list)
	}
	return err
}

// fileLists are the access control lists of files of a plan, by index. Most files of a revision have the same, which is kept
// once.
type fileLists struct {
	mu    sync.Mutex // guards both
	of    map[int32]string
	texts map[string]string
}

func (l *fileLists) note(i int32, list []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of, l.texts = map[int32]string{}, map[string]string{}
	}
	text, ok := l.texts[string(list)]
	if !ok {
		text = string(list)
		l.texts[text] = text
	}
	l.of[i] = text
}
