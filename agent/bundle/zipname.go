package bundle

import (
	"archive/zip"
	"encoding/binary"
	"hash/crc32"
	"strings"
	"unicode/utf8"
)

// unicodePath is the extra field with an entry's name in UTF-8 (Info-ZIP's, APPNOTE 4.6.9): a version, the CRC of the name
// that it stands for, and the name.
const unicodePath = 0x7075

// nameZip gives an entry the name that its maker meant, and tells whether the code page had to be guessed.
func nameZip(f *zip.File) (guessed bool) {
	for extra := f.Extra; len(extra) >= 4; {
		id, size := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if size > len(extra)-4 {
			break
		}
		field := extra[4 : 4+size]
		if id == unicodePath && size > 5 && field[0] == 1 && utf8.Valid(field[5:]) &&
			binary.LittleEndian.Uint32(field[1:]) == crc32.ChecksumIEEE([]byte(f.Name)) {
			f.Name = string(field[5:])
			return false
		}
		extra = extra[4+size:]
	}
	if utf8.ValidString(f.Name) {
		return false // also where the flag for it is not set: names are as often UTF-8 as that is forgotten
	}
	if system := f.CreatorVersion >> 8; system == madeOnUnix || system == madeOnMacOS {
		return false // a name on Unix is bytes
	}
	var b strings.Builder
	for _, c := range []byte(f.Name) {
		if c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			b.WriteRune(codePage437[c-utf8.RuneSelf])
		}
	}
	f.Name = b.String()
	return true
}

// separators gives a name its slashes that a program on Windows has written with backslashes, as Compress-Archive did before .NET
// 4.6.1, and tells whether it did. No name on Windows has one that is anything else.
func separators(f *zip.File) bool {
	system := f.CreatorVersion >> 8
	if system == madeOnUnix || system == madeOnMacOS || !strings.Contains(f.Name, `\`) {
		return false
	}
	f.Name = strings.ReplaceAll(f.Name, `\`, "/")
	return true
}

// codePage437 are the characters from 0x80 on.
var codePage437 = []rune("ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0")
