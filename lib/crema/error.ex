defmodule Crema.Error do
  @moduledoc """
  What the functions that end in `!` raise.

  It holds the same parts as the `{:error, {code, details}}` of the other functions:

    * `:code`, an atom: one of crema's own or librdkafka's name in lower case
    * `:message`, a sentence for people
    * `:details`, the whole map of details: where they apply `:retriable`, `:fatal`, `:status`,
      `:topic`, `:partition` and `:field`

  ## Example

      iex> details = %{message: "Message timed out", topic: "orders"}
      iex> error = Crema.Error.exception({:msg_timed_out, details})
      iex> error.code
      :msg_timed_out
      iex> Exception.message(error)
      "Message timed out (msg_timed_out)"
      iex> error.details.topic
      "orders"
  """

  defexception [:code, :message, details: %{}]

  @type t :: %__MODULE__{code: atom, message: String.t(), details: map}

  @doc "Makes the exception from the `{code, details}` of an error."
  @impl true
  @spec exception({atom, map}) :: t
  def exception({code, %{message: message} = details}) do
    %__MODULE__{code: code, message: "#{message} (#{code})", details: details}
  end

  def exception({code, details}) do
    %__MODULE__{code: code, message: Atom.to_string(code), details: details}
  end
end
