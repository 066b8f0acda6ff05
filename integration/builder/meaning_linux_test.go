package main

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestNoHeredocIsSkipped(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\n" +
		"RUN <<'EOF'\necho $((1 + 1)) >/single\nEOF\n" +
		"RUN <<\"EOF\"\necho $((1 + 1)) >/double\nEOF\n" +
		"RUN <<-'EOF'\n\techo $((1 + 1)) >/tabs\n\tEOF\n" +
		"RUN <<-EOF\n\t#!/bin/awk -f\n\tBEGIN { print 2 >\"/awk\" }\n\tEOF\n" +
		"RUN cat <<A >/two && cat <<-'B' >>/two\n2\nA\n\t2\n\tB\n" +
		"RUN cat /single /double /tabs /awk /two | tr -d '\\n' | grep -x 222222"})
	s.mustBuild("ctx")
	for _, quoted := range []string{"EOF", "'EOF'", `"EOF"`} {
		s.files("failing", map[string]string{"Dockerfile": "FROM base\nRUN <<" + quoted + "\nexit 3\nEOF"})
		s.fails("RUN: the command ended with exit status 3", "failing")
	}
}

func TestParentStagesLoseNothing(t *testing.T) {
	s := newSite(t).withBase()
	s.files("parent", map[string]string{"Dockerfile": "FROM base\nSHELL [\"/bin/sh\", \"-ec\"]"})
	s.mustBuild("-t", "parent", "parent")
	s.files("ctx", map[string]string{"Dockerfile": "FROM base AS p\nARG NAME=joe\nSHELL [\"/bin/sh\", \"-ec\"]\n" +
		"FROM p AS child\nRUN test \"$NAME\" = joe && case $- in *e*) ;; *) exit 1; esac\nARG NAME=jim\n" +
		"FROM child\nARG NAME\nRUN test \"$NAME\" = jim\n" +
		"FROM p\nRUN test \"$NAME\" = joe\n" +
		"FROM parent\nRUN case $- in *e*) ;; *) exit 1; esac\n" +
		"FROM scratch\nCOPY --from=2 /etc/passwd /2\nCOPY --from=3 /etc/passwd /3\nCOPY --from=4 /etc/passwd /4"})
	s.mustBuild("ctx")
}

func TestPredefinedArgumentsAreSet(t *testing.T) {
	s := newSite(t).withBase()
	names := "TARGETPLATFORM TARGETOS TARGETARCH BUILDPLATFORM BUILDOS BUILDARCH TARGETSTAGE"
	want := strings.ReplaceAll("linux/ARCH linux ARCH linux/ARCH linux ARCH last", "ARCH", runtime.GOARCH)
	s.files("ctx", map[string]string{"Dockerfile": "ARG BASE=base-${TARGETARCH}\nFROM ${BASE%-" + runtime.GOARCH + "} AS first\n" +
		"ARG " + names + " BUILDVARIANT TARGETVARIANT=v\nARG A=1 B=$A\n" +
		"RUN test \"$" + strings.ReplaceAll(names, " ", " $") + "\" = \"" + want + "\" && test \"${BUILDVARIANT-unset}$TARGETVARIANT\" = v && test $A$B = 11\n" +
		"FROM first AS last"})
	s.mustBuild("ctx")
	s.files("given", map[string]string{"Dockerfile": "FROM $TARGETARCH\nARG TARGETARCH\nRUN test $TARGETARCH = base"})
	s.mustBuild("-build-arg", "TARGETARCH=base", "given")
}

func TestUnsetBuildArgKeepsTheDefault(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nARG UNSET_HERE=default\nARG SET_HERE=default\nRUN test $UNSET_HERE$SET_HERE = defaultset"})
	s.env = []string{"SET_HERE=set"}
	s.mustBuild("-build-arg", "UNSET_HERE", "-build-arg", "SET_HERE", "ctx")
}

func TestProxiesReachRunAndNoImage(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nRUN test $HTTP_PROXY$http_proxy$no_proxy = http://user:secrethttp://user:secretlocal\nENV P=x$HTTP_PROXY"})
	first, _ := s.mustBuild("-build-arg", "HTTP_PROXY=http://user:secret", "-build-arg", "no_proxy=local", "-o", "out", "ctx")
	if second, progress := s.mustBuild("-build-arg", "https_proxy=other", "ctx"); second != first || !strings.Contains(progress, "CACHED") {
		t.Errorf("%s, and with another proxy %s\n%s", first, second, progress)
	}
	img, err := fromLayout(filepath.Join(s.dir, "out"), "")
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := img.RawConfigFile(); err != nil || !strings.Contains(string(raw), `"P=x"`) {
		t.Errorf("%v, %s", err, raw)
	}
}

func TestSignalsAndPortsOfAnImage(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct{ text, want string }{
		"real-time signal": {"STOPSIGNAL SIGRTMIN+3", `"StopSignal":"SIGRTMIN+3"`},
		"short name":       {"STOPSIGNAL TERM", `"StopSignal":"TERM"`},
		"highest":          {"STOPSIGNAL 64", `"StopSignal":"64"`},
		"quoted":           {`STOPSIGNAL "SIGUSR1"`, `"StopSignal":"SIGUSR1"`},
		"large letters":    {"EXPOSE 80/TCP", `"ExposedPorts":{"80/tcp":{}}`},
		"range":            {"EXPOSE 8080-8082/udp", `"ExposedPorts":{"8080/udp":{},"8081/udp":{},"8082/udp":{}}`},
		"by variable":      {"ARG P=\"1 2/udp\"\nEXPOSE $P", `"ExposedPorts":{"1/tcp":{},"2/udp":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{T: t, dir: s.dir, cache: s.cache}
			s.files(name, map[string]string{"Dockerfile": "FROM scratch\n" + c.text})
			s.mustBuild("-o", name+".layout", name)
			img, err := fromLayout(filepath.Join(s.dir, name+".layout"), "latest")
			if err != nil {
				t.Fatal(err)
			}
			if raw, err := img.RawConfigFile(); err != nil || !strings.Contains(string(raw), c.want) {
				t.Errorf("%v: no %s in %s", err, c.want, raw)
			}
		})
	}
	s.files("bad", map[string]string{"Dockerfile": "FROM scratch\nARG P=http S=SIGNOT U=1:2:3\nEXPOSE $P"})
	s.fails("bad/Dockerfile:3: EXPOSE: http is no port", "bad")
	s.fails("bad/Dockerfile:3: EXPOSE: 99999 is no port", "-build-arg", "P=99999", "bad")
	s.files("bad", map[string]string{"Dockerfile": "FROM scratch\nARG S=SIGNOT\nSTOPSIGNAL $S"})
	s.fails("bad/Dockerfile:3: STOPSIGNAL: SIGNOT is no signal", "bad")
	s.files("bad", map[string]string{"Dockerfile": "FROM scratch\nARG U=1:2:3\nCOPY --chown=$U Dockerfile /"})
	s.fails("bad/Dockerfile:3: COPY: --chown=1:2:3 is no user", "bad")
}
