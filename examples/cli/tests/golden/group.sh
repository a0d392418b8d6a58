export API_V2=5001
export db_port=5002
export WEB_PORT=8080
