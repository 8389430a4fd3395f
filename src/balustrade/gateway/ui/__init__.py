"""The console: pages made on the server, readable without JavaScript, nothing from outside."""
