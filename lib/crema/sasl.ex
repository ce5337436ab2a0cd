defmodule Crema.Sasl do
  @moduledoc """
  Logging in: credentials that change while a client runs, and tokens.

      :ok = Crema.Sasl.set_credentials(MyApp.Producer, %{username: "app", password: "the next one"})

  The option `:oauth_token` of producers, consumers and readers gets the tokens of SASL
  OAUTHBEARER, in a process of its own: a function of no argument, or of a map with `:client`,
  `:name`, `:attempt` and `:config`. It returns `{:ok, token}` or `{:error, reason}`.
  """

  use Crema.Bang

  @typedoc """
  A token, and when it ends: `:expires_at` in milliseconds since 1970, or `:lifetime` in
  milliseconds. `:principal` and `:extensions` (a map) may be left out.
  """
  @type token :: %{required(:token) => iodata, optional(atom) => term}

  @typedoc "A name and a password, which may be a function without arguments."
  @type credentials ::
          %{username: String.t(), password: String.t() | function} | keyword

  @doc """
  Gives a producer, a consumer or a pool that logs in by PLAIN or SCRAM another name and password.

  New connections log in by them, those that there are live on. They hold for everything of the
  client until its process is started again.

  `{:error, {:no_password, _}}` when it logs in otherwise, or not at all; `:bad_options` when they
  are no credentials; `:closed` or `:not_found` when it does not run; `:busy` in an event handler
  of it.
  """
  @spec set_credentials(Crema.client(), credentials) :: :ok | Crema.error()
  def set_credentials(client, credentials), do: :crema_sasl.set_credentials(client, credentials)

  @doc """
  An `:oauth_token` for development: tokens that nobody has signed. A map of `:principal`,
  `:lifetime` (3,600,000 ms), `:scope` and `:extensions`, or the text that librdkafka takes as
  `sasl.oauthbearer.config`.
  """
  @spec unsecured(map | String.t()) :: (map -> {:ok, token} | {:error, term})
  def unsecured(claims), do: :crema_sasl.unsecured(claims)
end
