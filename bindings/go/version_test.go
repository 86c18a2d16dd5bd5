// What is made of the versions of header and library.

package rsscript

import (
	"strings"
	"testing"
)

func TestVersionsThatDoNotFit(t *testing.T) {
	if err := checkVersion(headerVersion); err != nil {
		t.Fatal(err)
	}
	if err := checkVersion(headerVersion + 1); err != nil {
		t.Fatal(err)
	}
	for _, other := range []uint32{0, headerVersion - 1, headerVersion + 1000, 1_002_003} {
		err := checkVersion(other)
		if err == nil || !strings.Contains(err.Message, versionText(other)) ||
			!strings.Contains(err.Message, versionText(headerVersion)) {
			t.Fatal(other, err)
		}
	}
}
