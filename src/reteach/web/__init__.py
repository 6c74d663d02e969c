"""What every web server of the package stands on: security, pages, pictures, the socket.

No framework in the browser and nothing from elsewhere; the strictest headers; links that cannot be guessed.
"""
