$env:API_V2="5001"
$env:db_port="5002"
$env:WEB_PORT="8080"
