set -x API_V2 5001
set -x db_port 5002
set -x WEB_PORT 8080
