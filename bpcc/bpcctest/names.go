package bpcctest

import "strconv"

// personName is a name as people write it, and as a login has it.
type personName struct{ text, ascii string }

// The people of a [Floor] are fictitious.
var (
	firstNames = []personName{
		{"Amara", "amara"}, {"Diego", "diego"}, {"Søren", "soren"}, {"Yuki", "yuki"}, {"Fatima", "fatima"},
		{"Łukasz", "lukasz"}, {"Priya", "priya"}, {"Chloé", "chloe"}, {"Kwame", "kwame"}, {"Ingrid", "ingrid"},
		{"Mateus", "mateus"}, {"Leila", "leila"}, {"Jürgen", "jurgen"}, {"Mei", "mei"}, {"Tomás", "tomas"},
		{"Aoife", "aoife"}, {"Nikolai", "nikolai"}, {"Zeynep", "zeynep"}, {"Hugo", "hugo"}, {"서연", "seoyeon"},
		{"Grace", "grace"}, {"Omar", "omar"}, {"Eszter", "eszter"}, {"Thabo", "thabo"}, {"Linh", "linh"},
		{"Mária", "maria"}, {"Ravi", "ravi"}, {"Élodie", "elodie"}, {"Ivo", "ivo"}, {"Noa", "noa"},
	}
	lastNames = []personName{
		{"Okafor", "okafor"}, {"Lindqvist", "lindqvist"}, {"Nakamura", "nakamura"}, {"García", "garcia"}, {"Haddad", "haddad"},
		{"Wójcik", "wojcik"}, {"Iyer", "iyer"}, {"Dubois", "dubois"}, {"Mensah", "mensah"}, {"Bergström", "bergstrom"},
		{"Silva", "silva"}, {"Rahimi", "rahimi"}, {"Köhler", "kohler"}, {"Chen", "chen"}, {"Novák", "novak"},
		{"O'Brien", "obrien"}, {"Petrov", "petrov"}, {"Yılmaz", "yilmaz"}, {"Moreau", "moreau"}, {"김", "kim"},
		{"Whitfield", "whitfield"}, {"Farouk", "farouk"}, {"Kovács", "kovacs"}, {"Ndlovu", "ndlovu"}, {"Tran", "tran"},
		{"Horváth", "horvath"}, {"Menon", "menon"}, {"Lefèvre", "lefevre"}, {"De Vries", "devries"}, {"Ben-Ami", "benami"},
	}
	teamNames    = []string{"Customer Service", "Sales", "Technical Support", "Back Office", "Premium", "Night Desk", "Field Desk", "Overflow"}
	serviceNames = []string{"Sales", "Support", "Billing", "Reservations", "Claims", "Web Chat", "Returns", "VIP Desk", "Technical", "Chat Español"}
)

func serviceName(i int) string {
	if i < len(serviceNames) {
		return serviceNames[i]
	}
	return "Service " + strconv.Itoa(i+1)
}
