package deploy

import (
	"bytes"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

const chartDir = "../../deploy/helm/bpcc-bridge"

// least is the least that a user must give.
const least = `
bpcc: {url: https://acme.brightpattern.com, clientId: stats.user, secret: {name: bpcc}}
nats: {url: "nats://nats:4222"}
`

// everything sets what can be set.
const everything = `
fullnameOverride: bridge
image: {digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
imagePullSecrets: [{name: registry}]
replicas: 3
bpcc:
  secret: {name: bpcc}
  tenants:
    - {url: "https://acme.brightpattern.com", client_id: stats, client_secret_file: /run/secrets/bpcc/acme}
    - {url: "https://globex.brightpattern.com", client_id: stats, client_secret_file: /run/secrets/bpcc/globex}
nats:
  url: tls://nats-1:4222,tls://nats-2:4222
  creds: {secret: nats-creds}
  ca: {secret: nats-ca}
  clientCert: {secret: nats-tls}
subscription: '{"bridge": {}}'
thresholds: [{name: backlog, kind: service, stat: in_calls_waiting, raise: {op: ">=", value: 5}}]
env: {BRIDGE_REDACT_STATS: "extension", BRIDGE_RETENTION: "2160h"}
networkPolicy: {ingressFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}
serviceMonitor: {enabled: true, labels: {release: prometheus}}
podAnnotations: {a: b}
podLabels: {team: voice}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: dedicated, operator: Exists}]
priorityClassName: high
`

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// render gives the manifests by file name; the error is the schema's too.
func render(t *testing.T, text string) (map[string]string, error) {
	t.Helper()
	chart, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	release := common.ReleaseOptions{Name: "acme", Namespace: "contact-centre", Revision: 1, IsInstall: true}
	values, err := util.ToRenderValues(chart, parse(t, text), release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Render(chart, values)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for name, manifest := range rendered {
		if manifest = strings.TrimSpace(manifest); manifest != "" {
			out[name[strings.LastIndex(name, "/")+1:]] = manifest
		}
	}
	return out, nil
}

// decode reads a manifest as the API server would with strict field validation.
func decode[T any](t *testing.T, manifest string) T {
	t.Helper()
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{Yaml: true, Strict: true})
	object, _, err := strict.Decode([]byte(manifest), nil, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, manifest)
	}
	typed, ok := object.(T)
	if !ok {
		t.Fatalf("it is a %T:\n%s", object, manifest)
	}
	return typed
}

func TestChartIsClean(t *testing.T) {
	for name, values := range map[string]string{"least": least, "everything": everything} {
		for _, m := range lint.RunAll(chartDir, parse(t, values), "contact-centre").Messages {
			// An icon is advice, and would be fetched from outside.
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", name, m.Error())
			}
		}
	}
}

func TestManifests(t *testing.T) {
	tests := map[string]struct {
		values string
		want   []string
	}{
		"least":      {least, []string{"NOTES.txt", "deployment.yaml", "networkpolicy.yaml", "pdb.yaml", "service.yaml", "serviceaccount.yaml"}},
		"everything": {everything, []string{"NOTES.txt", "configmap.yaml", "deployment.yaml", "networkpolicy.yaml", "pdb.yaml", "service.yaml", "serviceaccount.yaml", "servicemonitor.yaml"}},
		"one alone":  {least + "replicas: 1\nnetworkPolicy: {enabled: false}", []string{"NOTES.txt", "deployment.yaml", "service.yaml", "serviceaccount.yaml"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			manifests, err := render(t, test.values)
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(manifests)); !slices.Equal(got, test.want) {
				t.Errorf("manifests %v, want %v", got, test.want)
			}
			for file, manifest := range manifests {
				if file != "NOTES.txt" && file != "servicemonitor.yaml" { // no type of Kubernetes' own
					decode[any](t, manifest)
				}
			}
			deployment := decode[*appsv1.Deployment](t, manifests["deployment.yaml"])
			pod := deployment.Spec.Template
			checkPod(t, pod)
			checkEnvironment(t, pod.Spec, manifests["configmap.yaml"])
			selects := map[string]map[string]string{"deployment": deployment.Spec.Selector.MatchLabels}
			selects["service"] = decode[*corev1.Service](t, manifests["service.yaml"]).Spec.Selector
			if m := manifests["pdb.yaml"]; m != "" {
				pdb := decode[*policyv1.PodDisruptionBudget](t, m)
				selects["pdb"] = pdb.Spec.Selector.MatchLabels
				if n := pdb.Spec.MaxUnavailable.IntValue(); n >= int(*deployment.Spec.Replicas) {
					t.Errorf("the budget lets %d of %d go", n, *deployment.Spec.Replicas)
				}
			}
			if m := manifests["networkpolicy.yaml"]; m != "" {
				p := decode[*networkingv1.NetworkPolicy](t, m)
				selects["networkpolicy"] = p.Spec.PodSelector.MatchLabels
				if len(p.Spec.PolicyTypes) != 2 || len(p.Spec.Egress) != 2 {
					t.Errorf("the network policy is %+v", p.Spec)
				}
			}
			for what, labels := range selects {
				for k, v := range labels {
					if pod.Labels[k] != v {
						t.Errorf("%s selects %s=%s, which the pods have not: %v", what, k, v, pod.Labels)
					}
				}
				if len(labels) == 0 {
					t.Errorf("%s selects everything", what)
				}
			}
			if name := decode[*corev1.ServiceAccount](t, manifests["serviceaccount.yaml"]).Name; pod.Spec.ServiceAccountName != name {
				t.Errorf("the pods run as %q, there is %q", pod.Spec.ServiceAccountName, name)
			}
		})
	}
}

// checkPod judges the pod as a cluster would that enforces the restricted
// profile of the Pod Security Standards, and beyond.
func checkPod(t *testing.T, pod corev1.PodTemplateSpec) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	if r := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec)); !r.Allowed {
		t.Errorf("not restricted: %s", r.ForbiddenDetail())
	}
	c := pod.Spec.Containers[0]
	if !*c.SecurityContext.ReadOnlyRootFilesystem || *pod.Spec.AutomountServiceAccountToken || *pod.Spec.EnableServiceLinks {
		t.Error("the root is writable, or a token or service links reach the pod")
	}
	if *pod.Spec.TerminationGracePeriodSeconds <= 10 {
		t.Errorf("%d s are too few to stop in order", *pod.Spec.TerminationGracePeriodSeconds)
	}
	for what, probe := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet.Path != what || probe.HTTPGet.Port.StrVal != c.Ports[0].Name {
			t.Errorf("the probe of %s is %+v", what, probe)
		}
	}
	mounts := map[string]bool{}
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = true
		if !m.ReadOnly || m.SubPath != "" {
			t.Errorf("%s is writable, or a single file that would not be replaced", m.Name)
		}
	}
	for _, v := range pod.Spec.Volumes {
		if !mounts[v.Name] {
			t.Errorf("volume %s is mounted nowhere", v.Name)
		}
	}
	if len(mounts) != len(pod.Spec.Volumes) {
		t.Errorf("%d mounts of %d volumes", len(mounts), len(pod.Spec.Volumes))
	}
}

// checkEnvironment lets the bridge itself judge the variables.
func checkEnvironment(t *testing.T, pod corev1.PodSpec, configMap string) {
	t.Helper()
	env := map[string]string{}
	for _, e := range pod.Containers[0].Env {
		if _, twice := env[e.Name]; twice {
			t.Errorf("%s is set twice", e.Name)
		}
		env[e.Name] = e.Value
	}
	files := map[string]string{}
	if configMap != "" {
		for name, content := range decode[*corev1.ConfigMap](t, configMap).Data {
			files["/etc/bridge/"+name] = content
		}
	}
	judgeEnvironment(t, env, files)
}

func TestBadValuesAreRefused(t *testing.T) {
	tests := map[string]struct{ values, want string }{
		"nothing given":     {"", "bpcc"},
		"no secret":         {"bpcc: {url: 'https://acme.brightpattern.com', clientId: a}\nnats: {url: 'nats://nats'}", "secret"},
		"no url":            {"bpcc: {clientId: a, secret: {name: b}}\nnats: {url: 'nats://nats'}", "bpcc"},
		"no NATS":           {"bpcc: {url: 'https://a.example.com', clientId: a, secret: {name: b}}", "nats"},
		"password in a URL": {"bpcc: {url: 'https://a.example.com', clientId: a, secret: {name: b}}\nnats: {url: 'nats://a:b@nats'}", "url"},
		"a misspelt value":  {least + "replica: 2", "replica"},
		"a secret as value": {least + "env: {NATS_PASSWORD: x}", "NATS_PASSWORD"},
		"a foreign name":    {least + "env: {PATH: x}", "PATH"},
		"a number as text":  {least + "replicas: '2'", "replicas"},
		"a secret of a tenant": {`
bpcc: {secret: {name: b}, tenants: [{url: "https://a.example.com", client_id: a, client_secret: x}]}
nats: {url: "nats://nats"}`, "client_secret"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := render(t, test.values); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q in it", err, test.want)
			}
		})
	}
}

// TestEveryValueIsExplained holds the chart's README to its values.
func TestEveryValueIsExplained(t *testing.T) {
	text, err := os.ReadFile(chartDir + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(chartDir + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for line := range bytes.Lines(readme) {
		if cells := bytes.Split(line, []byte("|")); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`([a-zA-Z.]+)`").FindAllSubmatch(cells[1], -1) {
				named[string(m[1])] = true
			}
		}
	}
	there := map[string]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if m, ok := v.(map[string]any); ok && len(m) > 0 && path != "resources" {
			for k, v := range m {
				walk(strings.TrimPrefix(path+"."+k, "."), v)
			}
			return
		}
		there[path] = true
		if !named[path] {
			t.Errorf("README.md does not explain %s", path)
		}
	}
	walk("", parse(t, string(text)))
	for name := range named {
		if !there[name] {
			t.Errorf("README.md explains %s, which values.yaml has not", name)
		}
	}
}
