"""Moving in: the refresh tokens an app has lying readable in MongoDB become grants."""
