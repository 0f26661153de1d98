package deploy

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

const chartDir = "../../deploy/helm/bpcc-bridge"

// readValues returns one of the chart's files of values for tests.
func readValues(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "ci", name+"-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// valuesFiles returns the names of all files of values for tests.
func valuesFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(chartDir, "ci", "*-values.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files of values %v, %v", files, err)
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), "-values.yaml")
	}
	return files
}

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
	kinds := kubernetesKinds(t)
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, kinds, kinds, json.SerializerOptions{Yaml: true, Strict: true})
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
	for _, name := range valuesFiles(t) {
		for _, m := range lint.RunAll(chartDir, parse(t, readValues(t, name)), "contact-centre").Messages {
			// An icon is advice, and would be fetched from outside.
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", name, m.Error())
			}
		}
	}
}

// kubernetesKinds returns the kinds that the chart has, Kubernetes' own and those of the Prometheus operator.
func kubernetesKinds(t *testing.T) *runtime.Scheme {
	t.Helper()
	kinds := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(kinds); err != nil {
			t.Fatal(err)
		}
	}
	return kinds
}

func TestManifests(t *testing.T) {
	always := []string{"NOTES.txt", "deployment.yaml", "service.yaml"}
	tests := map[string][]string{
		"least":      {"networkpolicy.yaml", "pdb.yaml", "ready.yaml", "serviceaccount.yaml"},
		"everything": {"configmap.yaml", "dashboard.yaml", "networkpolicy.yaml", "pdb.yaml", "prometheusrule.yaml", "ready.yaml", "servicemonitor.yaml"},
		"alone":      {"serviceaccount.yaml"},
		"openshift":  {"networkpolicy.yaml", "pdb.yaml", "ready.yaml", "serviceaccount.yaml"},
		"csi":        {"networkpolicy.yaml", "pdb.yaml", "podmonitor.yaml", "ready.yaml", "serviceaccount.yaml"},
	}
	for _, name := range valuesFiles(t) {
		t.Run(name, func(t *testing.T) {
			manifests, err := render(t, readValues(t, name))
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Sorted(slices.Values(slices.Concat(always, tests[name])))
			if got := slices.Sorted(maps.Keys(manifests)); !slices.Equal(got, want) {
				t.Errorf("manifests %v, want %v", got, want)
			}
			for file, manifest := range manifests {
				if file != "NOTES.txt" {
					decode[any](t, manifest)
				}
			}
			deployment := decode[*appsv1.Deployment](t, manifests["deployment.yaml"])
			pod := deployment.Spec.Template
			checkPod(t, pod)
			checkEnvironment(t, pod.Spec, manifests["configmap.yaml"])
			selects := map[string]map[string]string{"deployment": deployment.Spec.Selector.MatchLabels}
			selects["service"] = decode[*corev1.Service](t, manifests["service.yaml"]).Spec.Selector
			for _, c := range pod.Spec.TopologySpreadConstraints {
				selects["topology "+c.TopologyKey] = c.LabelSelector.MatchLabels
			}
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
				if len(p.Spec.PolicyTypes) != 2 || len(p.Spec.Egress) < 2 {
					t.Errorf("the network policy is %+v", p.Spec)
				}
			}
			if m := manifests["servicemonitor.yaml"]; m != "" {
				selects["servicemonitor"] = decode[*monitoringv1.ServiceMonitor](t, m).Spec.Selector.MatchLabels
			}
			if m := manifests["podmonitor.yaml"]; m != "" {
				selects["podmonitor"] = decode[*monitoringv1.PodMonitor](t, m).Spec.Selector.MatchLabels
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
			if m := manifests["serviceaccount.yaml"]; m != "" {
				if name := decode[*corev1.ServiceAccount](t, m).Name; pod.Spec.ServiceAccountName != name {
					t.Errorf("the pods run as %q, there is %q", pod.Spec.ServiceAccountName, name)
				}
			}
			if m := manifests["ready.yaml"]; m != "" {
				checkTestPod(t, decode[*corev1.Pod](t, m), selects["service"], manifests)
			}
		})
	}
}

// checkPod judges the pod as a cluster would that enforces the restricted
// profile of the Pod Security Standards, and beyond.
func checkPod(t *testing.T, pod corev1.PodTemplateSpec) {
	t.Helper()
	checkRestricted(t, pod.ObjectMeta, pod.Spec)
	c := pod.Spec.Containers[0]
	if !*c.SecurityContext.ReadOnlyRootFilesystem || *pod.Spec.EnableServiceLinks {
		t.Error("the root is writable, or service links reach the pod")
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

func checkRestricted(t *testing.T, meta metav1.ObjectMeta, spec corev1.PodSpec) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	if r := policy.AggregateCheckResults(evaluator.EvaluatePod(restricted, &meta, &spec)); !r.Allowed {
		t.Errorf("not restricted: %s", r.ForbiddenDetail())
	}
}

// checkTestPod checks that the pod of `helm test` may ask the bridge's pods and is none of them.
func checkTestPod(t *testing.T, pod *corev1.Pod, service map[string]string, manifests map[string]string) {
	t.Helper()
	checkRestricted(t, pod.ObjectMeta, pod.Spec)
	if labels.SelectorFromSet(service).Matches(labels.Set(pod.Labels)) {
		t.Errorf("the Service selects the pod of the test: %v", pod.Labels)
	}
	target := decode[*corev1.Service](t, manifests["service.yaml"])
	if want := fmt.Sprintf("%s:%d", target.Name, target.Spec.Ports[0].Port); pod.Spec.Containers[0].Env[0].Value != want {
		t.Errorf("the test asks %s, want %s", pod.Spec.Containers[0].Env[0].Value, want)
	}
	allowed := decode[*networkingv1.NetworkPolicy](t, manifests["networkpolicy.yaml"]).Spec.Ingress[0].From[0].PodSelector
	if !labels.SelectorFromSet(allowed.MatchLabels).Matches(labels.Set(pod.Labels)) {
		t.Errorf("the network policy does not let in %v", pod.Labels)
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
		if env[e.Name] = e.Value; e.ValueFrom != nil {
			env[e.Name] = "secret of a Secret"
		}
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
	least := readValues(t, "least")
	const image = "image: {repository: a/b}\n"
	tests := map[string]struct{ values, want string }{
		"nothing given":     {image, "bpcc.secret.name is required"},
		"no image":          {strings.Replace(least, "image:", "#", 1), "image.repository is required"},
		"an image with tag": {least + "image: {repository: 'a/b:1'}", "repository"},
		"no secret":         {image + "bpcc: {url: 'https://acme.brightpattern.com', clientId: a}\nnats: {url: 'nats://nats'}", "bpcc.secret.name is required"},
		"no url":            {image + "bpcc: {clientId: a, secret: {name: b}}\nnats: {url: 'nats://nats'}", "bpcc.url is required"},
		"no client":         {image + "bpcc: {url: 'https://a.example.com', secret: {name: b}}\nnats: {url: 'nats://nats'}", "bpcc.clientId is required"},
		"no NATS":           {image + "bpcc: {url: 'https://a.example.com', clientId: a, secret: {name: b}}", "nats.url is required"},
		"password in a URL": {image + "bpcc: {url: 'https://a.example.com', clientId: a, secret: {name: b}}\nnats: {url: 'nats://a:b@nats'}", "url"},
		"a misspelt value":  {least + "replica: 2", "replica"},
		"a secret as value": {least + "env: {NATS_PASSWORD: x}", "NATS_PASSWORD"},
		"a secret in clear": {least + "extraEnv: [{name: NATS_PASSWORD, value: x}]", "extraEnv/0/value"},
		"a proxy with one":  {least + "proxy: {https: 'http://a:b@proxy:3128'}", "proxy"},
		"a foreign name":    {least + "env: {PATH: x}", "PATH"},
		"a number as text":  {least + "replicas: '2'", "replicas"},
		"a secret of a tenant": {image + `
bpcc: {secret: {name: b}, tenants: [{url: "https://a.example.com", client_id: a, client_secret: x}]}
nats: {url: "nats://nats"}`, "client_secret"},
		"a variable of the chart":   {least + "env: {NATS_URL: 'nats://b'}", "env.NATS_URL: the chart sets NATS_URL; set nats.url"},
		"its file":                  {least + "env: {BPCC_CLIENT_SECRET_FILE: /a}", "the chart sets BPCC_CLIENT_SECRET_FILE; set bpcc.secret.name"},
		"in extraEnv":               {least + "extraEnv: [{name: BRIDGE_REPLICAS, value: '1'}]", "extraEnv.BRIDGE_REPLICAS: the chart sets BRIDGE_REPLICAS; set nats.streamReplicas"},
		"as a value, not as a file": {least + "thresholds: [{name: a, kind: agent, stat: b, raise: {op: '>', value: 1}}]\nenv: {BRIDGE_THRESHOLDS: '[]'}", "set thresholds"},
		"the names":                 {least + "env: {BRIDGE_HTTP_HOSTS: bridge.example.com}", "set http.hosts"},
		"the port":                  {least + "env: {BRIDGE_HTTP: ':9090'}", "port 8080"},
		"a variable twice":          {least + "env: {BRIDGE_TENANT: a}\nextraEnv: [{name: BRIDGE_TENANT, value: b}]", "BRIDGE_TENANT is given twice"},
		"a rule without a name":     {least + "thresholds: [{kind: agent, stat: b, raise: {op: '>', value: 1}}]", "name"},
		"a rule's operator":         {least + "thresholds: [{name: a, kind: agent, stat: b, raise: {op: '=>', value: 1}}]", "thresholds/0/raise/op"},
		"a rule's duration":         {least + "thresholds: [{name: a, kind: agent, stat: b, raise: {op: '>', value: 1}, for: 10}]", "thresholds/0/for"},
		"a lease in days":           {least + "nats: {url: 'nats://nats', leaseTTL: 1d}", "leaseTTL"},
		"an interval without unit":  {least + "env: {BPCC_POLL_INTERVAL: '2'}", "BPCC_POLL_INTERVAL"},
		"a scrape in Go's way":      {least + "serviceMonitor: {interval: 1.5s}", "interval"},
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
	// Objects of Kubernetes, which are one value each.
	opaque := []string{"resources", "podSecurityContext", "securityContext", "startupProbe", "livenessProbe", "readinessProbe", "strategy", "dashboard.labels"}
	there := map[string]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if m, ok := v.(map[string]any); ok && len(m) > 0 && !slices.Contains(opaque, path) {
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
