// Package provision brings a host to what a web application needs: packages, PHP and its settings, a virtual host, folders, a database,
// services. A Profile says what is wanted, a table per platform says what that is called there, and a Host is looked at and changed.
//
// Everything is a resource that is compared with what is there. Plan makes the comparison and changes nothing; Apply makes the same one,
// changes what differs, one after the other, and looks again after each. It stops at the first failure. A second Apply changes nothing.
//
// The configuration of the web server and of PHP is changed as one transaction: what was there is kept in a journal until the web server
// has found the new one good and has reloaded it. If it does not, everything is put back and the server goes on as it was. A crash in the
// middle leaves the journal, and the next Apply takes it up.
package provision
