package event

// DirectoryData is the data of directory.changed.
type DirectoryData struct {
	Base
	Observed Window `json:"observed"`
	AfterGap bool   `json:"after_gap,omitempty"`
	// Kind is the directory: teams, services, agents or dispositions.
	Kind string `json:"kind"`
	// Baseline reports whether Added holds the entries of the complete directory, in Parts parts. A
	// baseline is not a change.
	Baseline bool `json:"baseline,omitempty"`
	Part     int  `json:"part,omitempty"`
	Parts    int  `json:"parts,omitempty"`
	// Added, Removed and Renamed are in order of ids, and never null.
	Added   []DirectoryEntry  `json:"added"`
	Removed []DirectoryEntry  `json:"removed"`
	Renamed []DirectoryRename `json:"renamed"`
}

// DirectoryEntry is one entry of a directory.
type DirectoryEntry struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// DirectoryRename is an entry whose name changed.
type DirectoryRename struct {
	ID   string `json:"id"`
	From string `json:"from"`
	To   string `json:"to"`
}

// ChatData is the data of chat.message_posted.
type ChatData struct {
	Base
	Observed Window `json:"observed"`
	AfterGap bool   `json:"after_gap,omitempty"`
	// App is the app id of the subscription.
	App     string      `json:"app"`
	Message ChatMessage `json:"message"`
}

// ChatMessage is one message of the internal chat, without what privacy settings remove.
type ChatMessage struct {
	ID        string `json:"id"`
	LoginID   string `json:"login_id,omitempty"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	// SendTime is the exact text of the source.
	SendTime string `json:"send_time,omitempty"`
	Urgent   bool   `json:"urgent"`
	Content  string `json:"content,omitempty"`
}
