package testenv

import "os"

// Device is a device file that can be opened.
func Device(path string) Req {
	return Req{path, []string{"devices"}, func() string {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err.Error()
		}
		f.Close()
		return ""
	}}
}
